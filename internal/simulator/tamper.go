// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Amounts of the faults that spoil validity.
const (
	expiredSince    = time.Hour
	defaultNotYet   = time.Hour
	spoiltLifetime  = 24 * time.Hour
	otherNamePrefix = "other."
	unrelatedCA     = "Unrelated"
)

// tamperTemplate spoils a certificate before it is signed and returns the key type to use.
func (f *Fault) tamperTemplate(template *x509.Certificate, keyType string, now time.Time) string {
	switch f.action() {
	case ActionLeafIsCA:
		template.IsCA = true
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	case ActionLeafExpired:
		template.NotAfter = now.Add(-expiredSince).Truncate(time.Second)
		template.NotBefore = template.NotAfter.Add(-spoiltLifetime)
	case ActionLeafNotYetValid:
		ahead := time.Duration(f.Delay)
		if ahead == 0 {
			ahead = defaultNotYet
		}
		template.NotBefore = now.Add(ahead).Truncate(time.Second)
		template.NotAfter = template.NotBefore.Add(spoiltLifetime)
	case ActionOtherCommonName:
		template.Subject.CommonName = orDefault(f.CommonName, otherNamePrefix+template.Subject.CommonName)
	case ActionWeakKey:
		if strings.HasPrefix(keyType, "rsa_") {
			return keyWeakRSA
		}
		return keyWeakEC
	}
	return keyType
}

// renderIssue writes the body of the answer and spoils it as the fault says.
func (s *Server) renderIssue(c *call, i issued, entry Entry) ([]byte, error) {
	i, err := s.tamperIssued(c, i)
	if err != nil {
		return nil, err
	}
	switches := s.Switches()
	key, err := renderKey(i, c.issue, switches)
	if err != nil {
		return nil, err
	}
	response := issueResponse{
		CertificateRequestID: entry.RequestID,
		Status:               requestApproved,
		Result:               resultSuccess,
		CertificateID:        entry.CertificateID,
		PEM:                  i.pemText(),
		PrivateKey:           key,
	}
	if switches.PEMAbsent && slices.Contains([]string{formatPKCS12, formatEncrypted}, c.issue.PrivateKeyFormat) {
		response.PEM = ""
	}
	c.fault.tamperResponse(&response)
	return c.fault.alter(response)
}

// tamperIssued settles the chain and spoils key and chain.
func (s *Server) tamperIssued(c *call, i issued) (issued, error) {
	if s.Switches().RootExcluded {
		i.chain = i.chain[:1]
	}
	if c.issue.IncludeCertificateChain != nil && !*c.issue.IncludeCertificateChain {
		i.chain = nil
	}
	switch c.fault.action() {
	case ActionChainMissing:
		i.chain = nil
	case ActionChainUnrelated:
		other, err := newAuthority(unrelatedCA, deviceSpan(s.now()))
		if err != nil {
			return issued{}, err
		}
		i.chain = other.chain()
	case ActionWrongKey:
		key, err := generateKey(c.issue.KeyType)
		if err != nil {
			return issued{}, err
		}
		i.key = key
	}
	return i, nil
}

// tamperResponse spoils fields of the answer.
func (f *Fault) tamperResponse(response *issueResponse) {
	switch f.action() {
	case ActionMissingKey:
		response.PrivateKey = ""
	case ActionBadBase64:
		response.PrivateKey = "!" + response.PrivateKey
	case ActionCRLF:
		response.PEM = strings.ReplaceAll(response.PEM, "\n", "\r\n")
		response.PrivateKey = strings.ReplaceAll(response.PrivateKey, "\n", "\r\n")
	case ActionChainReversed:
		response.PEM = reversePEM(response.PEM)
	}
}

func reversePEM(text string) string {
	var blocks []string
	rest := []byte(text)
	for block, next := pem.Decode(rest); block != nil; block, next = pem.Decode(next) {
		blocks = append(blocks, string(pem.EncodeToMemory(block)))
	}
	slices.Reverse(blocks)
	return strings.Join(blocks, "")
}

// alter encodes the answer, with the fields of alterAnswer set or removed.
func (f *Fault) alter(response issueResponse) ([]byte, error) {
	text, err := json.Marshal(response)
	if err != nil || !f.is(ActionAlterAnswer) {
		return text, err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	for name, value := range f.Set {
		fields[name] = value
		if value == nil {
			delete(fields, name)
		}
	}
	return json.Marshal(fields)
}

// answerPredecessor answers a renew with the old certificate and a key that does not belong to it.
func (s *Server) answerPredecessor(c *call, requestID string) (reply, error) {
	block, _ := pem.Decode([]byte(c.predecessor.PEM))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return reply{}, err
	}
	key, err := generateKey(c.issue.KeyType)
	if err != nil {
		return reply{}, err
	}
	entry := *c.predecessor
	entry.RequestID = requestID
	body, err := s.renderIssue(c, issued{leaf: leaf, chain: s.authority.chain(), key: key}, entry)
	return reply{status: http.StatusOK, contentType: mediaJSON, body: body}, err
}
