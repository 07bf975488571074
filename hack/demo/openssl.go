// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// opensslJudge asks the openssl program.
type opensslJudge struct {
	program         string
	root, deviceKey string
}

func (o opensslJudge) name() string { return "openssl, in each Secret's folder with:" }

func (o opensslJudge) shows() []string {
	return []string{
		"openssl x509 -in tls.crt -noout -pubkey   # is what the key has:",
		"openssl pkey -in tls.key -pubout",
		"openssl verify -CAfile root.crt -untrusted tls.crt tls.crt",
		strings.Join(openSealed(".", o.deviceKey), " ") + " | openssl pkey -pubout   # the sealed one",
	}
}

// openSealed is the command by which a device opens its sealed key.
func openSealed(dir, deviceKey string) []string {
	return []string{"openssl", "smime", "-decrypt", "-binary", "-inform", "DER", "-in", filepath.Join(dir, v1alpha1.KeySealedKey), "-inkey", deviceKey}
}

// check compares every form of the key with the certificate, and verifies the chain up to the vendor's root.
func (o opensslJudge) check(ctx context.Context, s unpacked) (string, error) {
	public, err := o.run(ctx, s, nil, "x509", "-in", v1alpha1.KeyCertificate, "-noout", "-pubkey")
	if err != nil {
		return "", err
	}
	var matching []string
	for _, form := range []struct {
		key   string
		opens func() ([]byte, error)
	}{
		{v1alpha1.KeyPrivateKey, func() ([]byte, error) { return o.run(ctx, s, nil, "pkey", "-in", v1alpha1.KeyPrivateKey, "-pubout") }},
		{v1alpha1.KeyCombinedPEM, func() ([]byte, error) { return o.run(ctx, s, nil, "pkey", "-in", v1alpha1.KeyCombinedPEM, "-pubout") }},
		{v1alpha1.KeyDERKey, func() ([]byte, error) {
			return o.run(ctx, s, nil, "pkey", "-inform", "DER", "-in", v1alpha1.KeyDERKey, "-pubout")
		}},
		{v1alpha1.KeyPKCS12, func() ([]byte, error) { return o.openKeystore(ctx, s) }},
		{v1alpha1.KeySealedKey, func() ([]byte, error) { return o.openSealedKey(ctx, s) }},
	} {
		if !s.has(form.key) {
			continue
		}
		other, err := form.opens()
		if err != nil {
			return "", err
		}
		if !bytes.Equal(public, other) {
			return "", fmt.Errorf("the key in %s is not the certificate's", form.key)
		}
		matching = append(matching, form.key)
	}
	if len(matching) == 0 {
		return "", errors.New("it holds no private key")
	}
	chain := v1alpha1.KeyCertificate
	if s.has(v1alpha1.KeyChain) {
		chain = v1alpha1.KeyChain
	}
	if _, err := o.run(ctx, s, nil, "verify", "-CAfile", o.root, "-untrusted", chain, v1alpha1.KeyCertificate); err != nil {
		return "", err
	}
	return "key matches (" + strings.Join(matching, ", ") + "), chain verifies", nil
}

// openKeystore reads the public key of a PKCS#12 file.
func (o opensslJudge) openKeystore(ctx context.Context, s unpacked) ([]byte, error) {
	key, err := o.run(ctx, s, []string{"KEYSTORE_PASSWORD=" + s.password},
		"pkcs12", "-in", v1alpha1.KeyPKCS12, "-passin", "env:KEYSTORE_PASSWORD", "-nocerts", "-nodes")
	if err != nil {
		return nil, err
	}
	return o.publicKey(ctx, s, key)
}

// openSealedKey opens the sealed key as the device would.
func (o opensslJudge) openSealedKey(ctx context.Context, s unpacked) ([]byte, error) {
	key, err := o.run(ctx, s, nil, openSealed(".", o.deviceKey)[1:]...)
	if err != nil {
		return nil, err
	}
	return o.publicKey(ctx, s, key)
}

func (o opensslJudge) publicKey(ctx context.Context, s unpacked, key []byte) ([]byte, error) {
	command := o.command(ctx, s, "pkey", "-pubout")
	command.Stdin = bytes.NewReader(key)
	return o.output(command)
}

func (o opensslJudge) run(ctx context.Context, s unpacked, environment []string, arguments ...string) ([]byte, error) {
	command := o.command(ctx, s, arguments...)
	command.Env = append(os.Environ(), environment...)
	return o.output(command)
}

func (o opensslJudge) command(ctx context.Context, s unpacked, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, o.program, arguments...)
	command.Dir = s.dir
	return command
}

func (o opensslJudge) output(command *exec.Cmd) ([]byte, error) {
	var complaint bytes.Buffer
	command.Stderr = &complaint
	text, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, bytes.TrimSpace(complaint.Bytes()))
	}
	return text, nil
}
