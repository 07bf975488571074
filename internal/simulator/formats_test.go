// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// recipient makes an RSA key and certificate, to.key and to.pem, in a new folder.
func recipient(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	openssl(t, folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=transport", "-keyout", "to.key", "-out", "to.pem")
	return folder
}

// decrypt opens a message with the command the vendor documents.
func decrypt(t *testing.T, folder, message string) []byte {
	t.Helper()
	write(t, folder, "in.p7m", unbase64(t, message))
	openssl(t, folder, "smime", "-binary", "-decrypt", "-aes256", "-inform", "DER", "-in", "in.p7m", "-out", "out", "-inkey", "to.key", "to.pem")
	return []byte(read(t, folder, "out"))
}

func read(t *testing.T, folder, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// opensslInfo returns what the tool says on either stream.
func opensslInfo(t *testing.T, folder string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "openssl", arguments...)
	command.Dir = folder
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", arguments, err, output)
	}
	return string(output)
}

type member struct {
	name    string
	content []byte
}

func unzip(t *testing.T, archive []byte) []member {
	t.Helper()
	reader, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	var members []member
	for _, file := range reader.File {
		open, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(open)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, member{file.Name, content})
	}
	return members
}

func names(members []member) []string {
	var found []string
	for _, m := range members {
		found = append(found, m.name)
	}
	return found
}
