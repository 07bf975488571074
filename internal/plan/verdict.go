// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"
	"time"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// backdating is how far before the request a vendor may set notBefore.
const backdating = 48 * time.Hour

// Candidate is a certificate of the vendor's inventory that an attempt may have bought, parsed from its leaf.
type Candidate struct {
	CertificateID, Serial string
	// Fingerprint is the SHA-256 of the leaf.
	Fingerprint string
	CommonName  string
	SANDigest   string
	KeyType     string
	NotBefore   time.Time
	// Revoked: the inventory lists it as revoked.
	Revoked bool
	// Accounted: a Secret, a predecessor or an orphan of this operator already has it.
	Accounted bool
	// Feared: another object's attempt has reported that it may have bought it. That record goes when its object goes.
	Feared bool
	// Marked: the leaf carries the attempt's id.
	Marked bool
}

// Verdict says what became of an attempt: what to revoke, what to report. Both empty means that nothing was issued.
type Verdict struct {
	// Revoke are proven ours.
	Revoke []Candidate
	// Report may be ours.
	Report []Candidate
}

// Judge picks the candidates that the attempt may have bought, and divides them by proof. Proven are: one that
// carries the attempt's id and, where the issuer's owner declared this operator the only enroller (policy Revoke), a
// single candidate that agrees with the attempt in everything. Names alone prove nothing: two clusters may run from the same YAML. What
// another object's attempt may have bought as well is reported here too, so that whoever deletes one of them does not delete the only record.
func Judge(attempt *v1alpha1.Attempt, deadline time.Time, policy v1alpha1.OrphanPolicy, candidates []Candidate) Verdict {
	var v Verdict
	var agreeing int
	for _, c := range candidates {
		switch {
		case c.Revoked || c.Accounted:
		case c.Marked:
			v.Revoke = append(v.Revoke, c)
		case Possible(attempt, deadline, c):
			v.Report = append(v.Report, c)
			if agrees(attempt, c) && !c.Feared {
				agreeing++
			}
		}
	}
	if policy == v1alpha1.OrphansRevoke && agreeing == 1 && len(v.Revoke) == 0 {
		proven := func(c Candidate) bool { return agrees(attempt, c) && !c.Feared }
		v.Revoke = slices.DeleteFunc(slices.Clone(v.Report), func(c Candidate) bool { return !proven(c) })
		v.Report = slices.DeleteFunc(v.Report, proven)
	}
	return v
}

// Possible tells whether the attempt may have bought the candidate at all: the name and the time fit.
func Possible(attempt *v1alpha1.Attempt, deadline time.Time, c Candidate) bool {
	return c.Serial != attempt.PredecessorSerial &&
		nameFits(attempt, c.CommonName) &&
		!c.NotBefore.Before(attempt.StartedAt.Add(-backdating)) &&
		!c.NotBefore.After(deadline.Add(clockTolerance))
}

// nameFits tells whether a profile could have made this name of what was asked for: the common name, the device's, or either with a
// domain more or less. A request without a name fits them all.
func nameFits(attempt *v1alpha1.Attempt, name string) bool {
	wanted := []string{attempt.CommonName, attempt.DeviceID}
	if attempt.CommonName == "" && attempt.DeviceID == "" {
		return true
	}
	name = strings.ToLower(name) + "."
	return slices.ContainsFunc(wanted, func(want string) bool {
		want = strings.ToLower(want) + "."
		return want != "." && name != "." && (strings.HasPrefix(name, want) || strings.HasPrefix(want, name))
	})
}

// agrees tells whether a possible candidate also has the very name, the alternative names and the key type that were asked for. Profiles may rewrite
// both, so a candidate that does not agree is still reported.
func agrees(attempt *v1alpha1.Attempt, c Candidate) bool {
	return attempt.CommonName != "" && strings.EqualFold(c.CommonName, attempt.CommonName) &&
		(attempt.SANDigest == "" || c.SANDigest == attempt.SANDigest) &&
		(attempt.KeyType == "" || strings.EqualFold(c.KeyType, attempt.KeyType))
}
