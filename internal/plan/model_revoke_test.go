// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"slices"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// stepConfirm asks the inventory for the predecessor that is to be revoked.
func (w *modelWorld) stepConfirm(p int, f *modelFlight, fault modelFault) {
	if len(f.due) == 0 {
		w.afterRevocations(p, f)
		return
	}
	predecessor := f.due[0]
	f.record, f.refused = "", ""
	switch {
	case predecessor.FingerprintSHA256 == "", w.gone, w.noSearch, w.noRevoke:
		f.refused = "it cannot be proven to be ours, or revoked"
	case w.procs[p].connecting, w.down, fault == faultBefore, fault == faultAfter:
		w.unrevoked(p, f)
		return
	default:
		w.calls++
		line := w.issued("", predecessor.SerialNumber)
		if line == nil || line.uncommitted || line.visibleAt > w.mono || line.profile != predecessor.ProfileID {
			f.refused = "the inventory does not confirm it"
			break
		}
		f.record = line.id
	}
	f.stage = stageRevoke
}

func (w *modelWorld) stepRevoke(p int, f *modelFlight, fault modelFault) {
	if f.record != "" {
		switch {
		case fault == faultBefore, w.down:
			w.unrevoked(p, f)
			return
		case fault == vendorRefuses:
			f.refused = "the vendor refused"
		default:
			w.revoke(f.cert, f.record)
			if fault == faultAfter {
				w.unrevoked(p, f)
				return
			}
		}
	}
	if f.finalizing {
		f.due, f.stage = f.due[1:], stageConfirm
		return
	}
	f.attempt = nil
	w.conclude(f, editRevoked)
}

// unrevoked: the vendor did not answer. A deletion asks for the others all the same.
func (w *modelWorld) unrevoked(p int, f *modelFlight) {
	if f.finalizing {
		f.failed = true
		f.due, f.stage = f.due[1:], stageConfirm
		return
	}
	w.unresolved(p, f)
}

func (w *modelWorld) afterRevocations(p int, f *modelFlight) {
	switch {
	case !f.finalizing:
		w.land(p, f)
	case f.failed && FinalizePatience(&f.snapshot):
		w.unresolved(p, f)
	default:
		f.stage = stageDeleteSecret
	}
}

func (w *modelWorld) stepFinalize(_ int, f *modelFlight) {
	f.stage, f.finalizing = stageDeleteSecret, true
	if f.cert.Spec.Revocation.OnDelete != v1alpha1.RevocationRevoke {
		return
	}
	// A Secret of a re-created object of the same name is not this one's to empty.
	if held := f.predecessor(); held != nil && f.secret.Usable() && f.secret.content.ownerUID == f.cert.UID {
		f.due = append(f.due, v1alpha1.SupersededCertificate{IssuedCertificate: *held})
	}
	f.due = slices.DeleteFunc(slices.Concat(f.due, f.cert.Status.Superseded), func(s v1alpha1.SupersededCertificate) bool {
		return !f.snapshot.Now.Before(s.NotAfter.Time) || s.RevocationFailure != ""
	})
	f.stage = stageConfirm
}

func (w *modelWorld) stepDeleteSecret(p int, f *modelFlight, fault modelFault) {
	f.stage = stageUnfinalize
	if f.cert.Spec.Secret.DeletionPolicy != v1alpha1.DeletionDelete {
		return
	}
	if fault == faultBefore {
		w.unresolved(p, f)
		return
	}
	w.deleteSecret(f.cert, secretNameOf(f.cert))
	if fault == faultAfter {
		w.unresolved(p, f)
	}
}

func (w *modelWorld) deleteSecret(c *v1alpha1.DeviceCertificate, name string) {
	at := secretIndex(name)
	if live := w.secrets[at]; live != nil && live.owner == c.Name && live.ownerUID == c.UID {
		w.excusing(func() {
			w.writes++
			w.secrets[at] = nil
		})
	}
}

func (w *modelWorld) stepUnfinalize(p int, f *modelFlight, fault modelFault) {
	wanted := *f.base
	wanted.Finalizers = nil
	var err error
	w.excusing(func() { _, err = w.patch(f.slot, f.base, &wanted, fault) })
	if err != nil && !errors.Is(err, errModelNotFound) {
		w.unresolved(p, f)
		return
	}
	w.procs[p].memory[f.slot] = modelMemory{}
	w.land(p, f)
}
