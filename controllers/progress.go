// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strconv"
	"sync"
	"time"
)

// lagPatience is how long a watch that brings nothing at all is waited for, before an object is read live instead.
const lagPatience = 10 * time.Second

// progress is how far each watch of DeviceCertificates has come. A watch brings its events in the order of their versions, so that the newest
// one it has brought tells whether an object is still to come, and how long ago it moved tells whether it is slow or dead.
type progress struct {
	mu      sync.Mutex
	watches map[string]mark
}

// mark is the newest version that a watch has brought, and when that was.
type mark struct {
	version uint64
	at      time.Time
}

// saw notes the version of an object that a watch has brought. One that was brought before, as at a resync, is no progress.
func (p *progress) saw(watch, resourceVersion string, now time.Time) {
	version, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watches == nil {
		p.watches = map[string]mark{}
	}
	if version > p.watches[watch].version {
		p.watches[watch] = mark{version, now}
	}
}

func (p *progress) of(watch string) mark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.watches[watch]
}

// lag is how long to wait for a version that was written at an instant and has not been seen yet. Zero: it will not come by itself, because the
// watch is past it or has stood still for lagPatience.
func (m mark) lag(resourceVersion string, writtenAt, now time.Time) time.Duration {
	if version, err := strconv.ParseUint(resourceVersion, 10, 64); err != nil || m.version >= version {
		return 0
	}
	moved := writtenAt
	if m.at.After(moved) {
		moved = m.at
	}
	return max(moved.Add(lagPatience).Sub(now), 0)
}

// watchOf names the watch that brings the objects of a namespace: there is one for each namespace that is served, or one for all.
func (r *DeviceCertificateReconciler) watchOf(namespace string) string {
	if len(r.Namespaces) == 0 {
		return ""
	}
	return namespace
}
