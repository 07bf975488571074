// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
)

// script is a fault with its progress.
type script struct {
	Fault
	matched  int
	released chan struct{}
}

// faultBook holds the scripted faults in the order they were added.
type faultBook struct {
	mu      sync.Mutex
	added   int
	scripts []*script
}

func newFaultBook() *faultBook { return &faultBook{} }

// take returns the fault the request meets, or nil, and counts it.
func (b *faultBook) take(operation Operation, profileID, commonName string) *Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.scripts {
		if s.meets(operation, profileID, commonName) {
			s.Hits++
			taken := s.Fault
			return &taken
		}
	}
	return nil
}

func (s *script) meets(operation Operation, profileID, commonName string) bool {
	m := s.Match
	switch {
	case m.Operation != "" && m.Operation != OperationAny && m.Operation != operation,
		m.ProfileID != "" && m.ProfileID != profileID,
		m.CommonName != "" && m.CommonName != commonName,
		m.Times >= 0 && s.Hits >= max(m.Times, 1):
		return false
	}
	s.matched++
	following := s.matched - m.After
	return following > 0 && (following-1)%max(m.Every, 1) == max(m.Every, 1)-1
}

// released returns the channel that is closed when the fault is removed. A fault removed already is released.
func (b *faultBook) released(id string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.scripts {
		if s.ID == id {
			return s.released
		}
	}
	gone := make(chan struct{})
	close(gone)
	return gone
}

// AddFault scripts a misbehaviour and returns its id.
func (s *Server) AddFault(f Fault) (string, error) {
	if err := f.validate(); err != nil {
		return "", fmt.Errorf("fault: %w", err)
	}
	b := s.faults
	b.mu.Lock()
	defer b.mu.Unlock()
	b.added++
	f.ID, f.Hits = orDefault(f.ID, "fault-"+strconv.Itoa(b.added)), 0
	if slices.ContainsFunc(b.scripts, func(other *script) bool { return other.ID == f.ID }) {
		return "", fmt.Errorf("fault: id %q is in use", f.ID)
	}
	b.scripts = append(b.scripts, &script{Fault: f, released: make(chan struct{})})
	return f.ID, nil
}

// Faults returns the scripted faults, used up or not, with their hits.
func (s *Server) Faults() []Fault {
	b := s.faults
	b.mu.Lock()
	defer b.mu.Unlock()
	faults := make([]Fault, 0, len(b.scripts))
	for _, f := range b.scripts {
		faults = append(faults, f.Fault)
	}
	return faults
}

// RemoveFault removes a fault and lets the requests it holds go on. It reports whether the fault existed.
func (s *Server) RemoveFault(id string) bool {
	return s.faults.remove(func(f *script) bool { return f.ID == id }) > 0
}

// ResetFaults removes all faults.
func (s *Server) ResetFaults() { s.faults.remove(func(*script) bool { return true }) }

func (b *faultBook) remove(which func(*script) bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.scripts)
	b.scripts = slices.DeleteFunc(b.scripts, func(f *script) bool {
		if which(f) {
			close(f.released)
			return true
		}
		return false
	})
	return before - len(b.scripts)
}
