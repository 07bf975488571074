// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"archive/zip"
	"bytes"
	"io"
)

// Limits of archives. A real one holds a key and a handful of certificates.
const (
	// MaxArchiveMembers is the most entries an archive may list.
	MaxArchiveMembers = 64
	// MaxArchiveBytes is the most all members may have together after
	// decompression, whatever sizes the archive claims.
	MaxArchiveBytes = 2 << 20
)

const (
	fieldDecrypted = "decrypted private_key"
	fieldArchive   = "archive in private_key"
)

// openFile reads what was inside an envelope: a ZIP archive for cert_encrypted,
// a key file for cert_encrypted_key_only. The vendor documents no names, so the
// contents decide.
func openFile(plain []byte) (contents, error) {
	if bytes.HasPrefix(plain, []byte("PK\x03\x04")) {
		return openArchive(plain)
	}
	return readFile(fieldDecrypted, plain)
}

// openArchive reads every member of a ZIP archive, whatever it is called, and
// keeps keys and certificates. Directories and unrelated files are passed over.
// Nothing is written anywhere, so names cannot do harm.
func openArchive(archive []byte) (contents, error) {
	reader, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return contents{}, fault(fieldArchive, Malformed, "it is not a complete ZIP archive")
	}
	if len(reader.File) > MaxArchiveMembers {
		return contents{}, fault(fieldArchive, TooLarge, "it has more than %d members", MaxArchiveMembers)
	}
	var found contents
	budget := int64(MaxArchiveBytes)
	for _, member := range reader.File {
		if member.FileInfo().IsDir() {
			continue
		}
		file, err := readMember(member, budget)
		if err != nil {
			return contents{}, err
		}
		budget -= int64(len(file))
		more, err := readFile(fieldArchive, file)
		if err != nil {
			return contents{}, err
		}
		if err := found.add(fieldArchive, more); err != nil {
			return contents{}, err
		}
	}
	return found, nil
}

// readMember decompresses one member, but not more than budget bytes.
func readMember(member *zip.File, budget int64) ([]byte, error) {
	const flagEncrypted = 1
	if member.Flags&flagEncrypted != 0 {
		return nil, fault(fieldArchive, Unsupported, "a member is encrypted with a ZIP password")
	}
	stream, err := member.Open()
	if err != nil {
		return nil, fault(fieldArchive, Unsupported, "a member cannot be opened: its header is damaged or its compression unknown")
	}
	defer func() { _ = stream.Close() }()
	file, err := io.ReadAll(io.LimitReader(stream, budget+1))
	switch {
	case int64(len(file)) > budget:
		return nil, fault(fieldArchive, TooLarge, "it has more than %d bytes after decompression", MaxArchiveBytes)
	case err != nil:
		return nil, fault(fieldArchive, Malformed, "a member is damaged")
	}
	return file, nil
}
