// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/simulator"
	"github.com/devicecert/devicecert-operator/internal/testkit/apiproxy"
)

// statusRevoked is the vendor's word.
const statusRevoked = "REVOKED"

// verify waits until nothing happens any more, checks the invariants on all that was recorded, and adds it up.
func (w *world) verify() {
	w.Helper()
	w.awaitQuiet()
	c := &w.counts
	for _, e := range w.ledger() {
		c.Bought++
		if e.Status == statusRevoked {
			c.Revoked++
		}
	}
	for _, name := range w.versions.names() {
		w.checkAccounting(name, c)
		w.checkPairs(name, c)
		w.checkIntents(name, c)
		w.checkStatus(name)
	}
}

// silence is how long nothing must happen for a case to be over.
const silence = 2 * time.Second

// awaitQuiet waits until there were neither writes nor calls for a while (I12).
func (w *world) awaitQuiet() {
	w.Helper()
	busy, since := -1, time.Now()
	eventually(w.T, "nothing is written and the vendor is left alone", func(context.Context) (bool, error) {
		if now := len(w.writes()) + w.asked(); now != busy {
			busy, since = now, time.Now()
		}
		return time.Since(since) > silence, nil
	})
}

// asked counts the requests that reached any of the vendors, probes included.
func (w *world) asked() int {
	var n int
	for _, v := range w.vendors {
		n += len(v.server.Requests())
	}
	return n
}

// writes are the effective writes of all managers, but for events and leases.
func (w *world) writes() []apiproxy.Exchange {
	return slices.DeleteFunc(w.history(), func(e apiproxy.Exchange) bool {
		return !e.Written() || e.Resource == "events" || e.Resource == "leases"
	})
}

// since are the writes since the mark.
func (w *world) since() []apiproxy.Exchange {
	return slices.DeleteFunc(w.writes(), func(e apiproxy.Exchange) bool { return e.Arrived.Before(w.marked) })
}

// checkAccounting: every certificate ever issued is in a Secret, a recorded predecessor, revoked, or reported (I1).
func (w *world) checkAccounting(name string, c *counts) {
	certificates, secrets := w.versions.of(name)
	held, ever := map[string]bool{}, map[string]bool{}
	live := map[string]string{}
	for _, s := range secrets {
		ever[s.serial] = true
		live[s.Name] = s.serial
		if s.deleted {
			delete(live, s.Name)
		}
	}
	for _, serial := range live {
		held[serial] = true
	}
	last := &certificates[len(certificates)-1].Status
	for _, p := range last.Superseded {
		held[p.SerialNumber] = true
	}
	if last.Issued != nil && ever[last.Issued.SerialNumber] {
		held[last.Issued.SerialNumber] = true // what was stored last, also when the user has deleted the Secret
	}
	for _, e := range w.ledger() {
		if e.CommonName != w.commonName(name) {
			continue
		}
		accounted := held[e.SerialNumber] || e.Status == statusRevoked || reported(last.Orphans, e)
		if !accounted {
			c.Unaccounted++
			w.Errorf("I1: certificate %s of %s is in no Secret, no record, and not revoked", e.SerialNumber, name)
		}
		if !ever[e.SerialNumber] {
			c.LostKeys++
			if e.Status != statusRevoked && !reported(last.Orphans, e) {
				c.LostUnrevoked++
			}
		}
	}
}

// reported tells whether an orphan names the certificate, or a window it lies in.
func reported(orphans []v1alpha1.Orphan, e simulator.Entry) bool {
	for _, o := range orphans {
		if o.CertificateID == e.CertificateID || o.CertificateID == "" && o.CommonName == e.CommonName &&
			!e.IssuedAt.Before(o.WindowStart.Time) && !e.IssuedAt.After(o.WindowEnd.Time) {
			return true
		}
	}
	return false
}

// checkPairs: whoever reads the Secret at any time finds a whole matching set (I2).
func (w *world) checkPairs(name string, c *counts) {
	_, secrets := w.versions.of(name)
	for _, s := range secrets {
		if s.problem != nil && !w.othersDoing(s) {
			c.Mismatched++
			w.Errorf("I2: %s: %v", s, s.problem)
		}
	}
}

// othersDoing tells whether the case itself, in somebody else's place, wrote that version.
func (w *world) othersDoing(s *secretVersion) bool {
	return w.tampered[s.ResourceVersion] || w.spoilt != nil && w.spoilt(s.Secret)
}

// note is a change of a certificate's attempt in the order of commits.
type note struct {
	at time.Time
	// attempt is the id of the attempt that was opened; empty when it was closed.
	attempt string
}

// notes are those changes, as the proxies saw them go through.
func (w *world) notes(name string) []note {
	var notes []note
	for _, e := range w.history() {
		if e.Resource != "devicecertificates" || e.Subresource != "status" || e.Name != name || !e.Written() {
			continue
		}
		var body struct {
			Status map[string]json.RawMessage
		}
		if json.Unmarshal(e.Request, &body) != nil {
			continue
		}
		text, ok := body.Status["attempt"]
		if !ok {
			continue
		}
		var attempt struct{ ID string }
		if string(text) == "null" {
			notes = append(notes, note{at: e.Committed})
		} else if json.Unmarshal(text, &attempt) == nil && attempt.ID != "" {
			notes = append(notes, note{e.Committed, attempt.ID})
		}
	}
	return notes
}

// checkIntents: every purchase was preceded by an intent of its own that is still open, and no intent was written over an open one (I5,
// I6, I7).
func (w *world) checkIntents(name string, c *counts) {
	notes := w.notes(name)
	open := ""
	for _, n := range notes {
		if n.attempt != "" && open != "" && n.attempt != open {
			c.TwoOpen++
			w.Errorf("I6: attempt %s of %s was begun while %s was open", n.attempt, name, open)
		}
		open = n.attempt
	}
	used := map[string]bool{}
	for _, call := range w.calls() {
		if !buys(call) || call.CommonName != w.commonName(name) {
			continue
		}
		current := ""
		for _, n := range notes {
			if n.at.Before(call.Time) {
				current = n.attempt
			}
		}
		if current == "" || used[current] {
			c.Double++
			w.Errorf("I7: request %d for %s left without an intent of its own (attempt %q)", call.Sequence, name, current)
		}
		used[current] = true
	}
}

// checkStatus: Ready=True speaks of the certificate in the Secret (I14). Versions that somebody else wrote in between are not the
// operator's word.
func (w *world) checkStatus(name string) {
	certificates, secrets := w.versions.of(name)
	for i, c := range certificates {
		s := c.Status
		ready := apimeta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady) && s.ObservedGeneration == c.Generation
		if !ready || s.Attempt != nil || i == 0 || certificates[i-1].Status.SerialNumber == s.SerialNumber {
			continue
		}
		var shown *secretVersion
		for _, v := range secrets {
			if v.Name == s.SecretName && version(v) < version(c) && !w.othersDoing(v) {
				shown = v
			}
		}
		if shown == nil || !shown.deleted && shown.serial != s.SerialNumber {
			w.Errorf("I14: version %s of %s is Ready with serial %s, but the Secret showed %v", c.ResourceVersion, name, s.SerialNumber, shown)
		}
	}
}
