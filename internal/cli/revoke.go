// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
	"github.com/devicecert/devicecert-operator/internal/certs"
)

// revokeOptions are those of `revoke`.
type revokeOptions struct {
	single
	serial, reason string
}

func newRevokeCommand(e *Environment) *cobra.Command {
	o := &revokeOptions{single: single{Environment: e}}
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Replace a certificate, then revoke it at the vendor; costs one",
		Long: "Revoke a certificate at the vendor, by the annotation " + v1alpha1.AnnotationRevokeRequested + ".\n\n" +
			"The one in the Secret is replaced first, which costs a certificate, and revoked once the new one is stored. A predecessor,\n" +
			"named by --serial, is revoked at once. Whatever took the old certificate along must follow the new one before that.",
		Example: example(`
			kubectl devicecert revoke gateway-17 --reason key_compromise --wait
			kubectl devicecert revoke gateway-17 --serial 0A16`),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeOne,
		RunE:              run(o),
	}
	cmd.Flags().StringVar(&o.serial, "serial", "", "the serial number of the certificate; default: the one in the Secret")
	cmd.Flags().StringVar(&o.reason, "reason", "", "one of "+reasons()+"; default: that of spec.revocation.reason")
	o.steering.addFlags(cmd, "the certificate is revoked")
	o.steering.addYesFlag(cmd)
	complete(cmd, "reason", strings.Split(reasons(), ", "))
	return cmd
}

func reasons() string {
	var words []string
	for _, r := range v1alpha1.RevocationReasons() {
		words = append(words, string(r))
	}
	return strings.Join(words, ", ")
}

// Validate refuses reasons that the vendor does not know.
func (o *revokeOptions) Validate() error {
	if o.reason != "" && !slices.Contains(v1alpha1.RevocationReasons(), v1alpha1.RevocationReason(o.reason)) {
		return fmt.Errorf("--reason %s is none the vendor knows: choose from %s", o.reason, reasons())
	}
	return o.single.Validate()
}

// Run asks for the revocation.
func (o *revokeOptions) Run(ctx context.Context) error {
	s, c, err := o.read(ctx)
	if err != nil {
		return err
	}
	if err := o.pick(c); err != nil {
		return err
	}
	o.reason = cmp.Or(o.reason, string(c.Spec.Revocation.Reason), string(v1alpha1.ReasonCessationOfOperation))
	question := fmt.Sprintf("Serial %s of %s is revoked for %s, which cannot be undone", o.serial, title(c), o.reason)
	if certs.SameSerial(o.serial, c.Status.SerialNumber) {
		question = fmt.Sprintf("A new certificate is bought for %s; once it is stored, serial %s is revoked for %s, which cannot be undone", title(c), o.serial, o.reason)
	}
	if why := o.doubts(ctx, s, c); why != "" {
		question += ". Mind that " + why
	}
	if err := o.confirm(o.steering.yes, question); err != nil {
		return err
	}
	err = o.request(ctx, s, c, v1alpha1.AnnotationRevokeRequested, o.serial+"/"+o.reason, "revoked", revocation(c.DeepCopy(), o.serial, o.Clock.Now()))
	if err != nil || o.steering.wait {
		return err
	}
	o.say(c, "the revocation of serial %s is asked for; %s", o.serial, seeStatus(c))
	return nil
}

// pick finds the certificate that is meant.
func (o *revokeOptions) pick(c *v1alpha1.DeviceCertificate) error {
	if o.serial == "" {
		if o.serial = c.Status.SerialNumber; o.serial == "" {
			return fmt.Errorf("%s has no certificate yet that could be revoked", title(c))
		}
		return nil
	}
	known := []string{c.Status.SerialNumber}
	for _, s := range c.Status.Superseded {
		if known = append(known, s.SerialNumber); s.RevocationFailure != "" && certs.SameSerial(o.serial, s.SerialNumber) {
			return fmt.Errorf("serial %s could not be revoked, and is left to a person: %s", o.serial, clean(s.RevocationFailure))
		}
	}
	at := slices.IndexFunc(known, func(serial string) bool { return certs.SameSerial(serial, o.serial) })
	if at < 0 {
		return fmt.Errorf("serial %s is none of %s: it has %s", o.serial, title(c), enumerate(slices.DeleteFunc(known, func(s string) bool { return s == "" })))
	}
	o.serial = known[at]
	return nil
}

// doubts are reasons why the revocation may not come about.
func (o *revokeOptions) doubts(ctx context.Context, s *session, c *v1alpha1.DeviceCertificate) string {
	if why := blocked(c); why != "" {
		return "nothing happens until somebody acts: " + clean(why)
	}
	i, err := s.issuer(ctx, c.Namespace, c.Spec.IssuerRef)
	if err != nil || i.status.Capabilities == nil {
		return ""
	}
	if can := i.status.Capabilities; can.Revoke == v1alpha1.CapabilityNo || can.Search == v1alpha1.CapabilityNo {
		return fmt.Sprintf("the credential of %s cannot revoke: the certificate will be replaced, and is left to you to revoke at the vendor", i)
	}
	return ""
}

// revocation judges whether the certificate of that serial number is replaced and revoked.
func revocation(before *v1alpha1.DeviceCertificate, serial string, now time.Time) judge {
	return func(c *v1alpha1.DeviceCertificate) (ending, string) {
		replaced := !certs.SameSerial(c.Status.SerialNumber, serial) && c.Status.SerialNumber != ""
		for _, s := range c.Status.Superseded {
			if !certs.SameSerial(s.SerialNumber, serial) {
				continue
			}
			if s.RevocationFailure != "" {
				return failed, clean(s.RevocationFailure)
			}
			return goesOn, "replaced: " + describeIssued(&c.Status, now)
		}
		if replaced && c.Status.Attempt == nil && c.UID == before.UID {
			return succeeded, "serial " + serial + " is revoked; in the Secret is " + describeIssued(&c.Status, now)
		}
		return progressOf(before, c, now)
	}
}
