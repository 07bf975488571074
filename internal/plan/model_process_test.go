// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/renewal"
)

// modelProcess is one manager. It follows the controllers step by step: each effect, on the API server or the vendor, is a stage of its
// own, and between two of them anything may happen to it or to the world.
type modelProcess struct {
	// lame: it has lost its lease, and finishes what it began.
	lame bool
	// offset is how far its wall clock is off; measured is what it knows of that from the vendor's answers.
	offset, measured time.Duration
	// connecting: the issuer's account is not built yet.
	connecting bool

	view        [2]*v1alpha1.DeviceCertificate
	secretViews [3]*modelSecret
	memory      [2]modelMemory
	flights     [2]modelFlight
	// due is when each object is looked at again without an event, by the process's own monotonic clock; zero for never.
	due [2]time.Duration
}

// modelMemory is what a process remembers of one object.
type modelMemory struct {
	uid              types.UID
	facts            modelFacts
	read, distrusted bool
	generation       int64
	// issued is what the status said when the Secret was read.
	issued      string
	attempt     string
	attemptSeen time.Duration
	written     string
	writtenAt   time.Duration
	stumbles    int
	notBefore   time.Duration
}

// modelFacts is what a process knows of a Secret.
type modelFacts struct {
	Secret
	uid, version uint64
	content      *modelSecret
}

// restart begins a process anew: with the caches of a fresh list or, from an API server that lags behind, of an old one.
func (w *modelWorld) restart(p int, behind bool) {
	offset := w.procs[p].offset
	w.procs[p] = modelProcess{offset: offset, measured: offset, view: w.certs, secretViews: w.secrets}
	if behind {
		w.procs[p].view = w.outdated
	}
}

// sync brings a process's caches up to date.
func (w *modelWorld) sync(p, slot int, certs, secrets bool) {
	if certs {
		w.procs[p].view[slot] = w.certs[slot]
	}
	if secrets {
		w.procs[p].secretViews = w.secrets
	}
}

func (w *modelWorld) clock(p int) time.Time { return w.wall().Add(w.procs[p].offset) }

// factsOf is what a process makes of a Secret.
func factsOf(name string, s *modelSecret, c *v1alpha1.DeviceCertificate) modelFacts {
	if s == nil {
		return modelFacts{Secret: Secret{Name: name}}
	}
	f := modelFacts{uid: s.uid, version: s.version, content: s}
	f.Name = name
	received := c.Status.Issued != nil && c.Status.Issued.FingerprintSHA256 == s.serial && s.serial != ""
	switch {
	case s.owner == c.Name, s.owner == "" && received:
		f.State = SecretOurs
	default:
		f.State, f.Owner = SecretForeign, "somebody else"
		return f
	}
	f.CertificateID, f.AttemptID, f.IssuanceHash = s.certificateID, s.attemptID, s.hash
	f.IssuedAt, f.HandledRenewRequest = s.issuedAt, s.handledRenewWish
	if s.broken {
		f.Broken = "the private key does not match"
		return f
	}
	f.Serial, f.NotBefore, f.NotAfter = s.serial, s.notBefore, s.notAfter
	f.InSync = s.owner == c.Name && s.ownerUID == c.UID && s.look == ChainWanted(&c.Spec)
	return f
}

func (w *modelWorld) readSecret(name string, c *v1alpha1.DeviceCertificate) modelFacts {
	return factsOf(name, w.secrets[secretIndex(name)], c)
}

func olderVersion(a, b string) bool {
	left, err := strconv.ParseUint(a, 10, 64)
	if err != nil {
		return false
	}
	right, err := strconv.ParseUint(b, 10, 64)
	return err == nil && left < right
}

// reconcile observes, decides, and enters the first stage of what is to be done.
func (w *modelWorld) reconcile(p, slot int) {
	pr := &w.procs[p]
	base := pr.view[slot]
	pr.due[slot] = 0
	if base == nil || pr.lame {
		return
	}
	m := &pr.memory[slot]
	if m.uid != base.UID {
		*m = modelMemory{uid: base.UID}
	}
	if olderVersion(base.ResourceVersion, m.written) {
		if until := m.writtenAt + 10*time.Second; w.mono < until {
			pr.due[slot] = until
			return
		}
		if base = w.certs[slot]; base == nil {
			return
		}
		if m.uid != base.UID {
			*m = modelMemory{uid: base.UID}
		}
	}
	f := w.observe(p, slot, base)
	f.plan = Decide(&f.snapshot)
	held := m.notBefore > w.mono && f.plan.CallsVendor()
	if held {
		f.plan.Due = f.snapshot.Now.Add(m.notBefore - w.mono)
	} else {
		f.acknowledge()
	}
	w.begin(p, &f, held)
}

func (w *modelWorld) observe(p, slot int, base *v1alpha1.DeviceCertificate) modelFlight {
	pr, m, name := &w.procs[p], &w.procs[p].memory[slot], secretNameOf(base)
	f := modelFlight{slot: slot, base: base, cert: base}
	f.snapshot = Snapshot{Now: w.clock(p), Certificate: base, IssuanceHash: hashOf(base)}
	f.secret = w.observeSecret(p, slot, base)
	f.snapshot.Secret = f.secret.Secret
	f.previous = modelFacts{}
	if previous := base.Status.SecretName; previous != "" && previous != name && !f.secret.Usable() && secretIndex(previous) >= 0 {
		f.previous = w.readSecret(previous, base)
		f.snapshot.Previous = f.previous.Secret
	}
	w.observeIssuer(p, &f)
	if w.gone {
		f.snapshot.IssuanceHash = ""
	}
	if attempt := base.Status.Attempt; attempt != nil {
		if m.attempt != attempt.ID {
			m.attempt, m.attemptSeen = attempt.ID, w.mono
		}
		settled := m.attemptSeen + modelTimeout + modelStore + modelLag
		if pr.connecting && !w.gone {
			settled = m.attemptSeen + time.Second
		}
		f.snapshot.SettlesAt = f.snapshot.Now.Add(settled - w.mono)
	}
	return f
}

func (w *modelWorld) observeSecret(p, slot int, base *v1alpha1.DeviceCertificate) modelFacts {
	pr, m, name := &w.procs[p], &w.procs[p].memory[slot], secretNameOf(base)
	if !m.distrusted {
		meta := pr.secretViews[secretIndex(name)]
		fresh := m.generation == base.Generation && m.facts.Name == name && m.facts.Refused == "" && m.issued == issuedSerial(base)
		switch {
		case meta != nil && fresh && m.facts.uid == meta.uid && meta.version <= m.facts.version:
			return m.facts
		case meta == nil && base.Status.SecretName == "" && !m.read:
			return modelFacts{Secret: Secret{Name: name}}
		}
	}
	found := w.readSecret(name, base)
	w.remember(p, slot, base, found)
	return found
}

func (w *modelWorld) remember(p, slot int, c *v1alpha1.DeviceCertificate, f modelFacts) {
	m := &w.procs[p].memory[slot]
	m.facts, m.generation, m.issued, m.read, m.distrusted = f, c.Generation, issuedSerial(c), true, false
}

// issuedSerial is what the status says was last received; whose an unclaimed Secret is depends on it.
func issuedSerial(c *v1alpha1.DeviceCertificate) string {
	if c.Status.Issued == nil {
		return ""
	}
	return c.Status.Issued.SerialNumber
}

func (w *modelWorld) observeIssuer(p int, f *modelFlight) {
	pr := &w.procs[p]
	skewed := pr.measured.Abs() > clockTolerance
	f.snapshot.Issuer = Issuer{
		Found: !w.gone, Known: !w.gone && !pr.connecting, Ready: !w.unready && !skewed, Suspended: w.issuerPaused,
		Reason: v1alpha1.ReasonUnreachable, Message: "it is down", Version: w.issuerVersion,
	}
	if w.gone {
		f.snapshot.Issuer = Issuer{}
	}
}

// begin enters the first stage of a plan; one that is held back is only reported.
func (w *modelWorld) begin(p int, f *modelFlight, held bool) {
	pr := &w.procs[p]
	action := f.plan.Action
	if held {
		action = ActionWait
	}
	switch action {
	case ActionEnroll, ActionRenew:
		f.stage = stageFinalizer
	case ActionResolve:
		f.stage, f.attempt = stageReadBack, f.cert.Status.Attempt
	case ActionRevoke:
		f.due, _ = DueRevocations(&f.snapshot)
		f.stage, f.then = stageReport, stageConfirm
	case ActionFinalize:
		f.stage = stageFinalize
	case ActionRender:
		f.stage = stageRender
	default:
		f.stage, f.then = stageReport, stageIdle
	}
	if f.stage == stageReport {
		status := f.cert.Status
		f.describe(&status)
		f.applyConditions(&status, f.plan)
		f.use(withStatus(f.cert, status))
		if sayTheSame(&f.base.Status, &status) {
			f.stage = f.then // nothing new to say
		}
	}
	pr.due[f.slot] = w.after(f.plan, f.snapshot.Now)
	pr.flights[f.slot] = *f
}

// sayTheSame compares what a report may change.
func sayTheSame(a, b *v1alpha1.DeviceCertificateStatus) bool {
	return a.ObservedGeneration == b.ObservedGeneration && slices.Equal(a.Conditions, b.Conditions) && len(a.Orphans) == len(b.Orphans) &&
		a.CertificateID == b.CertificateID && a.SerialNumber == b.SerialNumber && a.FingerprintSHA256 == b.FingerprintSHA256 &&
		a.IssuanceHash == b.IssuanceHash && a.SecretName == b.SecretName && a.SecretResourceVersion == b.SecretResourceVersion &&
		a.NotBefore.Equal(b.NotBefore) && a.NotAfter.Equal(b.NotAfter) && a.RenewalTime.Equal(b.RenewalTime) &&
		a.LastHandledRenewRequest == b.LastHandledRenewRequest
}

// after is when to look again without an event.
func (w *modelWorld) after(p Plan, seen time.Time) time.Duration {
	if p.Due.IsZero() {
		return 0
	}
	return w.mono + min(max(p.Due.Sub(seen), time.Second), 6*time.Hour)
}

func withStatus(c *v1alpha1.DeviceCertificate, status v1alpha1.DeviceCertificateStatus) *v1alpha1.DeviceCertificate {
	copied := *c
	copied.Status = status
	return &copied
}

func (w *modelWorld) stumbled(p, slot int) {
	m := &w.procs[p].memory[slot]
	delay := min(time.Second<<min(m.stumbles, 16), 5*time.Minute)
	m.stumbles++
	m.notBefore = w.mono + delay + renewal.Jitter(delay/4, string(m.uid))
}

func (f *modelFlight) use(c *v1alpha1.DeviceCertificate) {
	f.cert, f.snapshot.Certificate = c, c
}

// acknowledge drops the orphan that the user says is taken care of.
func (f *modelFlight) acknowledge() {
	id := f.cert.Annotations[v1alpha1.AnnotationAcknowledgeOrphan]
	if id == "" {
		return
	}
	status := f.cert.Status
	status.Orphans = nil
	for _, o := range f.cert.Status.Orphans {
		if o.CertificateID != id && o.AttemptID != id {
			status.Orphans = append(status.Orphans, o)
		}
	}
	f.use(withStatus(f.cert, status))
}

func (f *modelFlight) describe(status *v1alpha1.DeviceCertificateStatus) {
	s := f.secret
	if s.State != SecretOurs || s.Broken != "" || status.Attempt != nil {
		return // while an attempt is open, what it replaces stays described
	}
	if described := lastDescribed(f.cert); described != nil && described.SerialNumber != s.Serial && (status.Issued == nil || status.Issued.SerialNumber != described.SerialNumber) {
		status.Superseded = supersede(status.Superseded, described, s.NotBefore, f.snapshot.Now)
	}
	status.CertificateID, status.IssuanceHash, status.SerialNumber, status.FingerprintSHA256 = s.CertificateID, s.IssuanceHash, s.Serial, s.Serial
	status.NotBefore, status.NotAfter = secondsOf(s.NotBefore), secondsOf(s.NotAfter)
	status.SecretName, status.SecretResourceVersion = s.Name, strconv.FormatUint(s.version, 10)
	status.RenewalTime = nil
	if due, ok := RenewalTime(f.cert, s.Secret); ok {
		status.RenewalTime = secondsOf(due)
	}
	if s.HandledRenewRequest != "" {
		status.LastHandledRenewRequest = s.HandledRenewRequest
	}
}

func (f *modelFlight) applyConditions(status *v1alpha1.DeviceCertificateStatus, p Plan) {
	status.ObservedGeneration = f.base.Generation // not that of an edit that a conflict brought in
	status.Conditions = Conditions(&f.snapshot, p)
}

func secondsOf(t time.Time) *metav1.Time {
	at := metav1.NewTime(t.Truncate(time.Second))
	return &at
}

// predecessor is the certificate that a purchase replaces.
func (f *modelFlight) predecessor() *v1alpha1.IssuedCertificate {
	known := f.secret
	if known.Serial == "" {
		known = f.previous
	}
	if issued := f.cert.Status.Issued; issued != nil && (known.Serial == "" || known.Serial == issued.FingerprintSHA256) {
		return issued
	}
	if known.Serial == "" {
		return lastDescribed(f.cert)
	}
	return identify(known)
}

func identify(f modelFacts) *v1alpha1.IssuedCertificate {
	return &v1alpha1.IssuedCertificate{
		CertificateID: f.CertificateID, SerialNumber: f.Serial, NotAfter: *secondsOf(f.NotAfter), FingerprintSHA256: f.Serial, ProfileID: profileOf(f.IssuanceHash),
	}
}

func profileOf(hash string) string {
	if len(hash) < 3 {
		return ""
	}
	return hash[3:]
}

func lastDescribed(c *v1alpha1.DeviceCertificate) *v1alpha1.IssuedCertificate {
	status := &c.Status
	if status.SerialNumber == "" || status.NotAfter == nil {
		return nil
	}
	return &v1alpha1.IssuedCertificate{CertificateID: status.CertificateID, SerialNumber: status.SerialNumber, NotAfter: *status.NotAfter}
}

// closeAsStored ends an attempt whose certificate is in the Secret.
func closeAsStored(status *v1alpha1.DeviceCertificateStatus, replaced, issued *v1alpha1.IssuedCertificate, begins, at time.Time) {
	if status.Attempt != nil && Unscheduled(status.Attempt.Reason) {
		status.Replacements = CountReplacement(status.Replacements, *secondsOf(at))
	}
	status.Superseded = supersede(status.Superseded, status.Issued, begins, at)
	status.Superseded = supersede(status.Superseded, replaced, begins, at)
	status.Attempt, status.Failures, status.Issued = nil, nil, issued
}

func supersede(list []v1alpha1.SupersededCertificate, replaced *v1alpha1.IssuedCertificate, successorBegins, at time.Time) []v1alpha1.SupersededCertificate {
	if replaced != nil && !slices.ContainsFunc(list, func(s v1alpha1.SupersededCertificate) bool { return s.SerialNumber == replaced.SerialNumber }) {
		list = slices.Insert(slices.Clone(list), 0, v1alpha1.SupersededCertificate{IssuedCertificate: *replaced, SupersededAt: *secondsOf(at)})
	}
	list = slices.DeleteFunc(slices.Clone(list), func(s v1alpha1.SupersededCertificate) bool { return !successorBegins.Before(s.NotAfter.Time) })
	return list[:min(len(list), v1alpha1.MaxSuperseded)]
}
