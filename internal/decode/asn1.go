// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// Limits of ASN.1 structures. CMS messages arrive in BER, where the depth and
// number of elements cost the parsers far more than their bytes.
const (
	// MaxASN1Depth is the deepest nesting followed.
	MaxASN1Depth = 32
	// MaxASN1Elements is the most elements of one message. Streamed envelopes
	// need one for each piece of content, of a thousand bytes or so.
	MaxASN1Elements = 8192
)

// Identifier octets: class, constructed bit and tag number in one.
const (
	tagInteger        = 0x02
	tagOctetString    = 0x04
	tagOID            = 0x06
	tagSequence       = 0x30
	tagSet            = 0x31
	tagContext0       = 0x80
	tagContext0Constr = 0xa0
	tagConstructed    = 0x20
)

var (
	errASN1      = errors.New("it is not well-formed ASN.1, or something follows its end")
	errASN1Limit = errors.New("its ASN.1 structure is too deep or has too many elements")
)

// element is one ASN.1 element, in BER or DER, with its children if it is
// constructed and its content if it is primitive. Sharing the input's memory, a
// tree costs little more than its elements.
type element struct {
	tag      byte
	children []element
	content  []byte
	// size is the number of content octets.
	size int
}

// parseASN1 reads exactly one element, without interpreting it. Tag numbers
// above 30 are refused: nothing that is opened here uses them.
func parseASN1(data []byte) (element, error) {
	reader := asn1Reader{left: MaxASN1Elements}
	root, rest, err := reader.read(data, MaxASN1Depth)
	if err == nil && len(rest) > 0 {
		err = errASN1
	}
	return root, err
}

// asn1Reader counts the elements that may still be read.
type asn1Reader struct{ left int }

func (r *asn1Reader) read(data []byte, depth int) (element, []byte, error) {
	if r.left--; r.left < 0 || depth == 0 {
		return element{}, nil, errASN1Limit
	}
	if len(data) < 2 || data[0]&0x1f == 0x1f || data[0] == 0 {
		return element{}, nil, errASN1
	}
	out := element{tag: data[0]}
	constructed := data[0]&tagConstructed != 0
	if data[1] == 0x80 && constructed {
		rest, err := r.readUntilEnd(&out, data[2:], depth)
		out.size = len(data) - len(rest) - 4
		return out, rest, err
	}
	length, body, ok := readLength(data[1:])
	if !ok || length > len(body) {
		return element{}, nil, errASN1
	}
	out.size = length
	out.content = body[:length]
	rest := body[length:]
	if !constructed {
		return out, rest, nil
	}
	inner := out.content
	out.content = nil
	for len(inner) > 0 {
		child, after, err := r.read(inner, depth-1)
		if err != nil {
			return element{}, nil, err
		}
		out.children = append(out.children, child)
		inner = after
	}
	return out, rest, nil
}

// readUntilEnd reads the children of an element of indefinite length.
func (r *asn1Reader) readUntilEnd(out *element, data []byte, depth int) ([]byte, error) {
	for {
		if len(data) >= 2 && data[0] == 0 && data[1] == 0 {
			return data[2:], nil
		}
		child, rest, err := r.read(data, depth-1)
		if err != nil {
			return nil, err
		}
		out.children = append(out.children, child)
		data = rest
	}
}

// readLength reads the length octets of the definite form.
func readLength(data []byte) (length int, rest []byte, ok bool) {
	first := int(data[0])
	if first < 0x80 {
		return first, data[1:], true
	}
	octets := first & 0x7f
	if octets == 0 || octets > 4 || octets >= len(data) {
		return 0, nil, false
	}
	var value uint64
	for _, octet := range data[1 : 1+octets] {
		value = value<<8 | uint64(octet)
	}
	return int(value), data[1+octets:], value <= math.MaxInt32
}

// octets returns the content of a string, which BER allows to be in pieces.
func (e element) octets() []byte {
	if len(e.children) == 0 {
		return e.content
	}
	var joined []byte
	for _, piece := range e.children {
		joined = append(joined, piece.octets()...)
	}
	return joined
}

// encode writes the element with definite lengths as short as DER demands, and
// octet strings in one piece.
func (e element) encode() []byte {
	body := e.content
	if e.tag == tagOctetString|tagConstructed {
		e.tag, body = tagOctetString, e.octets()
	} else if len(e.children) > 0 {
		body = nil
		for _, child := range e.children {
			body = append(body, child.encode()...)
		}
	}
	length := []byte{byte(len(body))}
	if len(body) >= 0x80 {
		length = binary.BigEndian.AppendUint32(nil, uint32(len(body)))
		length = bytes.TrimLeft(length, "\x00")
		length = append([]byte{0x80 | byte(len(length))}, length...)
	}
	return slices.Concat([]byte{e.tag}, length, body)
}

// asn1Fault wraps an error of parseASN1.
func asn1Fault(field string, err error) *Error {
	reason := Malformed
	if errors.Is(err, errASN1Limit) {
		reason = TooLarge
	}
	return &Error{Field: field, Reason: reason, Err: err}
}

// isOID compares an element with the content octets of an object identifier.
func (e element) isOID(encoded string) bool {
	return e.tag == tagOID && string(e.content) == encoded
}
