// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// Certificate statuses as the vendor spells them. EXPIRED is computed, never stored.
const (
	statusIssued  = "ISSUED"
	statusRevoked = "REVOKED"
	statusExpired = "EXPIRED"
)

// How a certificate came to be.
const (
	kindEnroll = "enroll"
	kindRenew  = "renew"
)

// Entry is one issued certificate. There is no private key in it: like the vendor, the simulator forgets the key once the
// answer is written.
type Entry struct {
	// Sequence counts certificates from 1 in the order of issuing.
	Sequence uint64 `json:"sequence"`
	// SerialNumber is upper-case hex in whole octets.
	SerialNumber  string `json:"serialNumber"`
	CertificateID string `json:"certificateID"`
	RequestID     string `json:"requestID"`
	ProfileID     string `json:"profileID"`
	CommonName    string `json:"commonName"`
	// DeviceIdentifier is the device's name, DeviceID the id of its record.
	DeviceIdentifier string `json:"deviceIdentifier"`
	DeviceID         string `json:"deviceID"`
	// CertificateAttributes and DeviceAttributes are what was asked for after defaults, for correlation in tests.
	CertificateAttributes []Attribute `json:"certificateAttributes,omitempty"`
	DeviceAttributes      []Attribute `json:"deviceAttributes,omitempty"`
	// Credential is the configured name of the API key, passcode or client certificate.
	Credential string `json:"credential"`
	// Kind is enroll or renew. A renew has the certificate id of its predecessor.
	Kind          string    `json:"kind"`
	PredecessorID string    `json:"predecessorID,omitempty"`
	IssuedAt      time.Time `json:"issuedAt"`
	NotBefore     time.Time `json:"notBefore"`
	NotAfter      time.Time `json:"notAfter"`
	// Answered is true once the whole answer was handed to the connection. Best effort: false proves nothing.
	Answered bool `json:"answered"`
	// Status is ISSUED, REVOKED or EXPIRED at the time of the query.
	Status           string     `json:"status"`
	RevokedAt        *time.Time `json:"revokedAt,omitempty"`
	RevocationReason string     `json:"revocationReason,omitempty"`
	// PEM is the certificate, Chain its issuers upwards, each PEM.
	PEM   string   `json:"pem"`
	Chain []string `json:"chain"`
}

// Attribute is one attribute of a request.
type Attribute struct {
	ID    string `json:"id"`
	Value Values `json:"value"`
}

// statusAt is the status a query at this time shows.
func (e *Entry) statusAt(now time.Time) string {
	if e.Status == statusIssued && now.After(e.NotAfter) {
		return statusExpired
	}
	return e.Status
}

// Device is one device record.
type Device struct {
	ID               string      `json:"id"`
	DeviceIdentifier string      `json:"deviceIdentifier"`
	Fields           []Attribute `json:"fields,omitempty"`
	Created          time.Time   `json:"created"`
	Updated          time.Time   `json:"updated"`
}

var (
	certificatesBucket = []byte("certificates")
	devicesBucket      = []byte("devices")
	materialBucket     = []byte("material")
)

// ledger keeps certificates and devices in memory for reading and in bbolt for surviving: an entry is visible only after
// the transaction that holds it is on disk.
type ledger struct {
	db        *bbolt.DB
	temporary string // folder removed by close; empty for a ledger that is kept

	mu       sync.RWMutex
	last     uint64
	entries  []*record
	byID     map[string]*record
	bySerial map[string]*record
	devices  map[string]Device
}

// record is an entry whose place is taken under the lock before it is on disk, so that limits hold under concurrency.
type record struct {
	Entry
	committed bool
}

// openTimeout bounds the wait for the file lock of another simulator.
const openTimeout = time.Second

func openLedger(path string) (*ledger, error) {
	l := &ledger{byID: map[string]*record{}, bySerial: map[string]*record{}, devices: map[string]Device{}}
	if path == "" {
		folder, err := os.MkdirTemp("", "simulator-ledger-")
		if err != nil {
			return nil, fmt.Errorf("create a temporary ledger: %w", err)
		}
		l.temporary, path = folder, filepath.Join(folder, "ledger.db")
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout, NoSync: l.temporary != ""})
	if err != nil {
		return nil, fmt.Errorf("open the ledger %s (is another simulator using it?): %w", path, err)
	}
	db.MaxBatchDelay = time.Millisecond
	l.db = db
	if err := l.load(); err != nil {
		_ = l.close()
		return nil, fmt.Errorf("read the ledger %s: %w", path, err)
	}
	return l, nil
}

func (l *ledger) load() error {
	return l.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{certificatesBucket, devicesBucket, materialBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		err := tx.Bucket(certificatesBucket).ForEach(func(_, value []byte) error {
			r := &record{committed: true}
			if err := json.Unmarshal(value, &r.Entry); err != nil {
				return err
			}
			l.index(r)
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(devicesBucket).ForEach(func(_, value []byte) error {
			var d Device
			if err := json.Unmarshal(value, &d); err != nil {
				return err
			}
			l.devices[d.DeviceIdentifier] = d
			return nil
		})
	})
}

func (l *ledger) index(r *record) {
	l.entries = append(l.entries, r)
	l.byID[r.CertificateID] = r
	l.bySerial[canonicalSerial(r.SerialNumber)] = r
	l.last = max(l.last, r.Sequence)
}

// canonicalSerial makes serial numbers comparable whatever their case and leading zeros.
func canonicalSerial(serial string) string {
	n, ok := new(big.Int).SetString(serial, 16)
	if !ok {
		return ""
	}
	return n.Text(16)
}

func (l *ledger) close() error {
	err := l.db.Close()
	if l.temporary != "" {
		_ = os.RemoveAll(l.temporary)
	}
	return err
}

// commit takes the entry's place if admit agrees, writes entry and device to disk, and only then shows the entry. admit
// runs under the lock with every entry on its way to disk in sight.
func (l *ledger) commit(e Entry, device Device, admit func([]*record) error) error {
	l.mu.Lock()
	if err := admit(l.entries); err != nil {
		l.mu.Unlock()
		return err
	}
	r := &record{Entry: e}
	r.Sequence = l.last + 1
	l.index(r)
	l.mu.Unlock()

	err := l.db.Batch(func(tx *bbolt.Tx) error {
		if err := putJSON(tx.Bucket(devicesBucket), []byte(device.DeviceIdentifier), device); err != nil {
			return err
		}
		return putEntry(tx, r.Entry)
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.forget(r)
		return fmt.Errorf("commit to the ledger: %w", err)
	}
	r.committed = true
	l.devices[device.DeviceIdentifier] = device
	return nil
}

func (l *ledger) forget(gone *record) {
	delete(l.byID, gone.CertificateID)
	delete(l.bySerial, canonicalSerial(gone.SerialNumber))
	for i, r := range l.entries {
		if r == gone {
			l.entries = append(l.entries[:i:i], l.entries[i+1:]...)
			return
		}
	}
}

func putEntry(tx *bbolt.Tx, e Entry) error {
	return putJSON(tx.Bucket(certificatesBucket), sequenceKey(e.Sequence), e)
}

// sequenceKey sorts as the number does.
func sequenceKey(sequence uint64) []byte { return binary.BigEndian.AppendUint64(nil, sequence) }

func putJSON(bucket *bbolt.Bucket, key []byte, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return bucket.Put(key, text)
}

// change alters one entry on disk, then in memory; concurrent changes share a sync. alter returns an error to leave the
// entry as it is, and must do the same whenever it is run: it runs for the disk, possibly again, and for the memory.
func (l *ledger) change(certificateID string, alter func(*Entry) error) error {
	old, ok := l.find(certificateID)
	if !ok || old.CertificateID != certificateID {
		return notFound("certificate %s does not exist", certificateID)
	}
	err := l.db.Batch(func(tx *bbolt.Tx) error {
		var e Entry
		if err := json.Unmarshal(tx.Bucket(certificatesBucket).Get(sequenceKey(old.Sequence)), &e); err != nil {
			return err
		}
		if err := alter(&e); err != nil {
			return err
		}
		return putEntry(tx, e)
	})
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		return err
	}
	if err != nil {
		return fmt.Errorf("commit to the ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return alter(&l.byID[certificateID].Entry)
}

// find looks up a certificate by id or by serial number.
func (l *ledger) find(idOrSerial string) (Entry, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	r, ok := l.byID[idOrSerial]
	if !ok {
		r, ok = l.bySerial[canonicalSerial(idOrSerial)]
	}
	if !ok || !r.committed {
		return Entry{}, false
	}
	return r.Entry, true
}

// all returns the committed entries in the order of issuing, with their status at this time.
func (l *ledger) all(now time.Time) []Entry {
	l.mu.RLock()
	defer l.mu.RUnlock()
	entries := make([]Entry, 0, len(l.entries))
	for _, r := range l.entries {
		if r.committed {
			e := r.Entry
			e.Status = e.statusAt(now)
			entries = append(entries, e)
		}
	}
	return entries
}

// allDevices returns the device records in no particular order.
func (l *ledger) allDevices() []Device {
	l.mu.RLock()
	defer l.mu.RUnlock()
	devices := make([]Device, 0, len(l.devices))
	for _, d := range l.devices {
		devices = append(devices, d)
	}
	return devices
}

func (l *ledger) device(identifier string) (Device, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	d, ok := l.devices[identifier]
	return d, ok
}

// material returns what was stored under the name, creating it the first time, so that authorities survive restarts.
func (l *ledger) material(name string, create func() ([]byte, error)) ([]byte, error) {
	var text []byte
	err := l.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(materialBucket)
		if stored := bucket.Get([]byte(name)); stored != nil {
			text = append(text, stored...)
			return nil
		}
		created, err := create()
		if err != nil {
			return err
		}
		text = created
		return bucket.Put([]byte(name), created)
	})
	return text, err
}
