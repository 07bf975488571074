// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// inspectOptions are those of `inspect`.
type inspectOptions struct {
	*Environment
	name, secret, passwordFile string
	files                      []string
	report                     report
}

func newInspectCommand(e *Environment) *cobra.Command {
	o := &inspectOptions{Environment: e}
	cmd := &cobra.Command{
		Use:   "inspect NAME | --secret NAME | -f FILE...",
		Short: "Look into a Secret or a file: certificate, chain, key and outputs",
		Long: "Look into the Secret of a DeviceCertificate, any other Secret, or files: what the certificate says, whether the chain is whole and\n" +
			"in order, whether the key fits, and whether every output holds the same. No key is ever printed.\n\n" +
			"It ends with 1 when something is wrong.",
		Example: example(`
			kubectl devicecert inspect gateway-17
			kubectl devicecert inspect --secret gateway-17-tls -o yaml
			kubectl devicecert inspect -f tls.crt -f tls.key
			kubectl devicecert inspect -f keystore.p12 --password-file password`),
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeOne,
		RunE:              run(o),
	}
	cmd.Flags().StringVar(&o.secret, "secret", "", "a Secret by its own name")
	cmd.Flags().StringSliceVarP(&o.files, "filename", "f", nil, "files that belong together, in PEM, DER, PKCS#12 or JKS; - is standard input")
	cmd.Flags().StringVar(&o.passwordFile, "password-file", "", "a file with the password of the keystores among them")
	o.report.addFlags(cmd)
	return cmd
}

// Complete reads the name.
func (o *inspectOptions) Complete(args []string) error {
	var t targets
	t.complete(args)
	o.name = strings.Join(t.names, "")
	return nil
}

// Validate wants one source.
func (o *inspectOptions) Validate() error {
	sources := 0
	for _, given := range []bool{o.name != "", o.secret != "", len(o.files) > 0} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		return errors.New("say what to look into: the name of a DeviceCertificate, --secret, or -f; one of them")
	}
	return o.report.validate()
}

// Run looks.
func (o *inspectOptions) Run(ctx context.Context) error {
	found, err := o.look(ctx)
	if err != nil {
		return err
	}
	printed, err := o.report.print(found, o.Out)
	if err != nil {
		return err
	}
	if !printed {
		o.draw(found).write(o.Out)
	}
	if len(found.Problems) > 0 {
		return exitError(ExitFailed)
	}
	return nil
}

func (o *inspectOptions) look(ctx context.Context) (*inspection, error) {
	if len(o.files) > 0 {
		return o.lookIntoFiles()
	}
	s, err := o.connect()
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{}
	secret.Name, secret.Namespace = o.secret, s.namespace
	var c *v1alpha1.DeviceCertificate
	if o.name != "" {
		if c, err = s.certificate(ctx, o.name); err != nil {
			return nil, err
		}
		secret.Name = secretName(c)
	}
	switch err := s.Get(ctx, client.ObjectKeyFromObject(secret), secret); {
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("you are not allowed to read Secret %s of namespace %s; `kubectl devicecert status` shows what the operator says of it", secret.Name, secret.Namespace)
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no Secret %s in namespace %s%s", secret.Name, secret.Namespace, notYet(c))
	case err != nil:
		return nil, explain(err, "read Secret "+secret.Name)
	}
	if c == nil {
		c = s.ownerOf(ctx, secret)
	}
	return inspectSecret(secret, c, s.passwords(ctx, c), o.Clock.Now()), nil
}

func notYet(c *v1alpha1.DeviceCertificate) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("; `kubectl devicecert status %s` tells why", c.Name)
}

// ownerOf is the DeviceCertificate that a Secret names, if it can be read.
func (s *session) ownerOf(ctx context.Context, secret *corev1.Secret) *v1alpha1.DeviceCertificate {
	name := secret.Annotations[v1alpha1.AnnotationCertificateName]
	if name == "" {
		return nil
	}
	c, err := s.certificate(ctx, name)
	if err != nil {
		return nil
	}
	return c
}

// password is one of a keystore, or why it is not known.
type password struct{ value, unknown string }

// passwords are those of the PKCS#12 and the JKS files.
func (s *session) passwords(ctx context.Context, c *v1alpha1.DeviceCertificate) map[string]password {
	if c == nil || c.Spec.Secret.Outputs == nil {
		return nil
	}
	read := func(ref v1alpha1.SecretKeyReference) password {
		secret := &corev1.Secret{}
		if err := s.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: ref.Name}, secret); err != nil {
			return password{unknown: fmt.Sprintf("Secret %s with its password: %s", ref.Name, unreadable(err))}
		}
		if len(secret.Data[ref.Key]) == 0 {
			return password{unknown: fmt.Sprintf("Secret %s has no key %s with its password", ref.Name, ref.Key)}
		}
		return password{value: string(secret.Data[ref.Key])}
	}
	known := make(map[string]password)
	if p12 := c.Spec.Secret.Outputs.PKCS12; p12 != nil {
		known[v1alpha1.KeyPKCS12] = read(p12.PasswordSecretRef)
		known[v1alpha1.KeyPKCS12Trust] = known[v1alpha1.KeyPKCS12]
	}
	if jks := c.Spec.Secret.Outputs.JKS; jks != nil {
		known[v1alpha1.KeyJKS] = read(jks.PasswordSecretRef)
		known[v1alpha1.KeyJKSTrust] = known[v1alpha1.KeyJKS]
	}
	return known
}

// maxFile is far above what certificates need.
const maxFile = 4 << 20

func (o *inspectOptions) lookIntoFiles() (*inspection, error) {
	var word string
	if o.passwordFile != "" {
		text, err := o.read(o.passwordFile)
		if err != nil {
			return nil, err
		}
		word = string(bytes.TrimRight(text, "\r\n"))
	}
	var all pieces
	for _, name := range o.files {
		content, err := o.read(name)
		if err != nil {
			return nil, err
		}
		found, err := piecesOf(content, word)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all.add(found)
	}
	return inspectPieces(strings.Join(o.files, ", "), all, o.Clock.Now()), nil
}

func (o *inspectOptions) read(name string) ([]byte, error) {
	from := o.In
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // the user names the file, and may read it
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }() // it was only read
		from = file
	}
	content, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes: this is no certificate", name, maxFile)
	}
	return content, err
}
