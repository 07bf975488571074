// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package trustmanager

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	// maxPageSize is the largest page asked for; the vendor's own maximum is unknown.
	maxPageSize     = 100
	defaultPageSize = 20

	// maxPages bounds SearchAll against a vendor that hands out records one by one.
	maxPages = 1000
)

// SearchQuery selects certificates of the inventory; empty fields select everything.
// Whether the vendor matches names exactly is unknown: check what comes back.
type SearchQuery struct {
	// ProfileID is the enrollment profile.
	ProfileID string

	// CommonName is the subject's common name.
	CommonName string

	// SerialNumber is hexadecimal; it is sent in upper case.
	SerialNumber string

	// Status is ISSUED, REVOKED or EXPIRED, as far as known.
	Status string

	// Limit is the page size, 1 to 100; 0 means 20.
	Limit int

	// Offset is the number of records to skip.
	Offset int
}

// SearchPage is one page of the inventory, in no known order.
type SearchPage struct {
	Records []Record

	// Total is how many records match in all; -1 when the vendor does not say.
	Total int

	// Limit and Offset are the vendor's echo of the query; what was asked for when it
	// sends none. A smaller Limit than asked for means that the vendor has a maximum.
	Limit, Offset int
}

// Record is one certificate of the inventory. It never holds a private key.
type Record struct {
	// ID is the certificate id that Renew and Revoke take.
	ID string

	// CommonName, SerialNumber and Status are the vendor's columns. The leaf in Body is
	// the better source; compare serial numbers as integers.
	CommonName, SerialNumber, Status string

	// Body is the leaf in PEM.
	Body string

	// Chain are the CA certificates in PEM, from the issuing CA upwards.
	Chain []string
}

// Search returns one page of the inventory. It takes an API token or the client
// certificate of a user; a passcode cannot search.
func (c *Client) Search(ctx context.Context, query SearchQuery) (*SearchPage, error) {
	call := call{op: opSearch, method: http.MethodGet, path: "/certificate", query: query.values()}
	received, err := c.do(ctx, call)
	if err != nil {
		return nil, err
	}
	page, err := parsePage(received.body, query)
	if err != nil {
		return nil, c.unusable(call, received, err)
	}
	return page, nil
}

// SearchAll returns all records of a query, up to maxRecords (at least 1). It asks as [SearchEach] does. truncated says
// that there are or may be more.
func SearchAll(ctx context.Context, search func(context.Context, SearchQuery) (*SearchPage, error), query SearchQuery, maxRecords int) (records []Record, truncated bool, err error) {
	_, truncated, err = SearchEach(ctx, search, query, maxRecords, func(r Record) { records = append(records, r) })
	if err != nil {
		return nil, false, err
	}
	return records, truncated, nil
}

// SearchEach visits all records of a query, up to maxRecords (at least 1), asking search,
// usually [Client.Search], page by page, so that the caller can count each request; Limit is ignored, Offset is where it starts. Records that appear twice,
// because the inventory grew meanwhile, are visited once. visited counts them, and truncated says that there
// are or may be more: the bound was reached, or the vendor kept sending the same page. Nothing of a record is kept but a digest.
func SearchEach(ctx context.Context, search func(context.Context, SearchQuery) (*SearchPage, error), query SearchQuery, maxRecords int, visit func(Record)) (visited int, truncated bool, err error) {
	query.Limit = maxPageSize
	seen := map[[sha256.Size]byte]struct{}{}
	for range maxPages {
		page, err := search(ctx, query)
		if err != nil {
			return visited, false, err
		}
		if len(page.Records) == 0 {
			return visited, false, nil
		}
		fresh := unseen(page.Records, seen)
		for _, record := range fresh {
			if visited == max(maxRecords, 1) {
				return visited, true, nil
			}
			visit(record)
			visited++
		}
		if len(fresh) == 0 {
			return visited, page.mayContinue(query), nil
		}
		if !page.mayContinue(query) {
			return visited, false, nil
		}
		query.Offset += len(page.Records)
	}
	return visited, true, nil
}

// mayContinue reports whether more records may follow this page. The vendor's total is
// trusted to announce more, never to announce the end: a total too low would hide
// certificates, and one needless request costs nothing.
func (p *SearchPage) mayContinue(query SearchQuery) bool {
	pageSize := query.Limit
	if p.Limit > 0 && p.Limit < pageSize {
		pageSize = p.Limit
	}
	return len(p.Records) >= pageSize || query.Offset+len(p.Records) < p.Total
}

// unseen returns the records not in seen and adds them to it.
func unseen(records []Record, seen map[[sha256.Size]byte]struct{}) []Record {
	var fresh []Record
	for _, record := range records {
		digest := sha256.Sum256([]byte(record.ID + "\x00" + record.Body))
		if _, known := seen[digest]; !known {
			seen[digest] = struct{}{}
			fresh = append(fresh, record)
		}
	}
	return fresh
}

func (q SearchQuery) values() url.Values {
	values := url.Values{
		"limit":  {strconv.Itoa(q.pageSize())},
		"offset": {strconv.Itoa(max(q.Offset, 0))},
	}
	for name, value := range map[string]string{
		"enrollment_profile_id": q.ProfileID,
		"common_name":           q.CommonName,
		"serial_number":         strings.ToUpper(q.SerialNumber),
		"status":                q.Status,
	} {
		if value != "" {
			values.Set(name, value)
		}
	}
	return values
}

func (q SearchQuery) pageSize() int {
	if q.Limit < 1 {
		return defaultPageSize
	}
	return min(q.Limit, maxPageSize)
}

func parsePage(body []byte, query SearchQuery) (*SearchPage, error) {
	var decoded wirePage
	if err := decodeObject(body, &decoded); err != nil {
		return nil, err
	}
	if decoded.Records == nil {
		return nil, cmp.Or(checkNoError(body), errors.New("the answer has no list of records"))
	}
	page := &SearchPage{Total: -1, Limit: decoded.Limit, Offset: decoded.Offset}
	if decoded.Total != nil && *decoded.Total >= 0 {
		page.Total = *decoded.Total
	}
	if page.Limit < 1 {
		page.Limit = query.pageSize()
	}
	if page.Offset < 1 {
		page.Offset = max(query.Offset, 0)
	}
	for _, record := range *decoded.Records {
		page.Records = append(page.Records, record.record())
	}
	return page, nil
}

func (r wireRecord) record() Record {
	record := Record{ID: r.ID, CommonName: r.CommonName, SerialNumber: r.SerialNumber, Status: r.Status, Body: r.Body}
	for _, certificate := range r.Chain {
		record.Chain = append(record.Chain, certificate.Blob)
	}
	return record
}
