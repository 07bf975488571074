// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/devicecert/devicecert-operator/internal/profile"
)

// write drafts a DeviceCertificate of the profile, with what it wants in comments. Everything of the vendor's is quoted or cleaned.
func (o *profileOptions) write(p published, namespace string) {
	say := func(format string, args ...any) { fmt.Fprintf(o.Out, format+"\n", args...) }
	say("# Profile %s, as %s saw it on %s.", p.ProfileID, clean(issuerName(p.issuer)), instant(p.at))
	say("# Fill in what is empty, and take the # from what else you want. Try it: kubectl devicecert plan -f FILE")
	say("apiVersion: devicecert.io/v1alpha1\nkind: DeviceCertificate\nmetadata:")
	say("  name: %s", strconv.Quote(cmp.Or(o.name, "")))
	say("  namespace: %s", namespace)
	say("spec:")
	say("  issuerRef: {kind: %s, name: %s}", quoteWord(string(p.issuer.Kind)), quoteWord(p.issuer.Name))
	say("  enrollmentProfileID: %s", p.ProfileID)
	attributeLines(say, "certificateAttributes", p.CertificateAttributes)
	attributeLines(say, "deviceAttributes", p.DeviceAttributes)
	say("  privateKey:")
	if len(p.KeyTypes) > 0 {
		say("    keyType: %s%s", quoteWord(p.KeyTypes[0]), choice(p.KeyTypes))
	} else {
		say("    # keyType: p_256 # default: the profile's")
	}
	if len(p.Formats) > 0 {
		say("    format: %s%s", quoteWord(p.Formats[0]), choice(p.Formats))
	} else {
		say("    format: pem # or der, pkcs_12, cert_encrypted, cert_encrypted_key_only")
	}
}

// attributeLines are one list of attributes: those the profile demands, and the others as comments.
func attributeLines(say func(string, ...any), field string, attributes []profile.Attribute) {
	if len(attributes) == 0 {
		return
	}
	mark := "# "
	for _, a := range attributes {
		if a.Demanded() {
			mark = "" // a list of comments alone would be null
		}
	}
	say("  %s%s:", mark, field)
	for _, a := range attributes {
		mark := "# "
		if a.Demanded() {
			mark = ""
		}
		if a.Fixed {
			say("    # %s is set by the profile%s", clean(a.ID), values(" to ", a.Default))
			continue
		}
		say("    %s- id: %s # %s", mark, quoteWord(a.ID), about(a))
		if a.Multiple {
			say("    %s  values: []", mark)
		} else {
			say("    %s  value: \"\"", mark)
		}
	}
}

// about says what is known of an attribute.
func about(a profile.Attribute) string {
	parts := []string{"optional"}
	if a.Demanded() {
		parts[0] = "mandatory"
	}
	if a.Name != "" && a.Name != a.ID {
		parts = append([]string{clean(a.Name)}, parts...)
	}
	if a.Multiple {
		parts = append(parts, "several")
	}
	if text := values("one of ", a.Options); text != "" {
		parts = append(parts, text)
	}
	if text := values("default ", a.Default); text != "" {
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func values(before string, list []string) string {
	if len(list) == 0 {
		return ""
	}
	return before + clean(strings.Join(list, ", "))
}

func choice(list []string) string {
	if len(list) < 2 {
		return ""
	}
	return " # one of " + clean(strings.Join(list, ", "))
}

// quoteWord quotes what YAML could take for anything but a word.
func quoteWord(text string) string {
	if text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == "" && strings.Trim(text, "0123456789.-_") != "" {
		return text
	}
	return strconv.Quote(text)
}
