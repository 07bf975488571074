// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/renewal"
	"github.com/devicecert/devicecert-operator/internal/trustmanager"
)

const (
	// specificationPatience is how long a purchase waits for the specification of its profile. It is worth no more than that: what it
	// would have told, the vendor tells in a refusal, which costs nothing.
	specificationPatience = 5 * time.Second
	// specificationFresh is how long a specification, or the word that it cannot be read, is good for.
	specificationFresh = 6 * time.Hour
	// specificationRetry is when a specification is asked for again that was not answered, or that a refusal has called into question.
	specificationRetry = 5 * time.Minute
)

// specification is what an account knows of one profile.
type specification struct {
	// known is the last answer; nil while there was none.
	known *trustmanager.Specification
	// version of the connection that asked last, at asked; due is when to ask again.
	version    string
	asked, due time.Time
	// reading is the request under way; nil while there is none.
	reading *reading
}

func (s *specification) fresh(version string, now time.Time) bool {
	return s.version == version && now.Before(s.due)
}

// Specification returns what an enrollment profile wants, and nil when that cannot be known: the credential may not read it, the vendor
// does not answer, or its answer is of no use. It is read once per connection and profile and then rarely; the call blocks for that, but
// only for moments. What becomes of it never keeps the issuer from buying.
func (r *Registry) Specification(ctx context.Context, id ID, profileID string) *trustmanager.Specification {
	ctx, cancel := context.WithTimeout(ctx, specificationPatience)
	defer cancel()
	for {
		known, reading, mine := r.lookUpSpecification(id, profileID)
		switch {
		case mine != nil:
			return r.readSpecification(ctx, id, profileID, mine)
		case reading == nil:
			return known
		}
		select {
		case <-reading:
		case <-ctx.Done():
			return known
		}
	}
}

// SpecificationDoubted has a specification read again soon: the vendor refused a request that it admits.
func (r *Registry) SpecificationDoubted(id ID, profileID string) {
	r.mu.Lock()
	defer r.release()
	if a, ok := r.accounts[id]; ok && a.specifications[profileID] != nil {
		s := a.specifications[profileID]
		if soon := s.asked.Add(specificationRetry); soon.Before(s.due) {
			s.due = soon
		}
	}
}

// reading is one request for a specification: the version of the connection it goes by, and a channel that is closed when it has ended.
type reading struct {
	version string
	ended   chan struct{}
}

// lookUpSpecification answers with what is known, with what to wait for if somebody else is asking, or with the reading to be made.
func (r *Registry) lookUpSpecification(id ID, profileID string) (known *trustmanager.Specification, others <-chan struct{}, mine *reading) {
	r.mu.Lock()
	defer r.release()
	a, ok := r.accounts[id]
	if !ok || a.client == nil || !a.connection.probeable() {
		return nil, nil, nil
	}
	s := a.specifications[profileID]
	if s == nil {
		s = &specification{}
		if a.specifications == nil {
			a.specifications = map[string]*specification{}
		}
		a.specifications[profileID] = s
	}
	switch version := a.version(); {
	case s.reading != nil:
		return s.known, s.reading.ended, nil
	case s.fresh(version, r.options.Clock.Now()):
		return s.known, nil, nil
	default:
		s.reading = &reading{version: version, ended: make(chan struct{})}
		return s.known, nil, s.reading
	}
}

// readSpecification asks the vendor, and remembers the answer or that there is none.
func (r *Registry) readSpecification(ctx context.Context, id ID, profileID string, mine *reading) (known *trustmanager.Specification) {
	var answer *trustmanager.Specification
	err := ErrNotConnected
	defer close(mine.ended)
	defer func() { known = r.noteSpecification(id, profileID, mine, answer, err) }()
	err = r.call(ctx, id, advisory, func(ctx context.Context, c *trustmanager.Client) (err error) {
		answer, err = c.EnrollmentSpecification(ctx, profileID)
		return err
	})
	return nil
}

// noteSpecification remembers what became of reading a specification.
func (r *Registry) noteSpecification(id ID, profileID string, mine *reading, answer *trustmanager.Specification, err error) *trustmanager.Specification {
	r.mu.Lock()
	defer r.release()
	a, ok := r.accounts[id]
	if !ok || a.specifications[profileID] == nil || a.specifications[profileID].reading != mine {
		return nil // the issuer was removed meanwhile
	}
	s, now := a.specifications[profileID], r.options.Clock.Now()
	s.reading, s.version, s.asked = nil, mine.version, now
	after := specificationFresh
	failure, _ := trustmanager.AsError(err)
	switch {
	case err == nil:
		s.known = answer
		r.specifies(a, v1alpha1.CapabilityYes)
	case failure != nil && failure.Delivery == trustmanager.Refused && failure.Actor != trustmanager.Time:
		s.known = nil
		if failure.Actor == trustmanager.Issuer {
			r.specifies(a, v1alpha1.CapabilityNo)
		}
	default:
		after = specificationRetry
	}
	s.due = now.Add(after - renewal.Jitter(after/4, id.String()+profileID))
	return s.known
}

// advisory is the verdict on a request whose failure says nothing about buying.
func advisory(err error) verdict {
	v := verdictOf(err)
	v.neutral = v.neutral || v.failure != nil && v.failure.Actor != trustmanager.Time
	return v
}

// specifies notes whether the credential can read specifications. The lock is held.
func (r *Registry) specifies(a *account, can v1alpha1.CapabilityState) {
	if a.canSpecify != can {
		a.canSpecify = can
		r.probes = append(r.probes, a.id) // to show it
	}
}
