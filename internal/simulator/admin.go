// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// AdminHandler serves the simulator's own API: scripted faults, switches, ledger and request log. It asks for no
// credential; serve it on loopback.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeAdmin(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { writeAdmin(w, http.StatusOK, s.Faults()) })
	mux.HandleFunc("POST /faults", s.adminAddFault)
	mux.HandleFunc("DELETE /faults", s.adminResetFaults)
	mux.HandleFunc("POST /reset-faults", s.adminResetFaults)
	mux.HandleFunc("DELETE /faults/{id}", s.adminRemoveFault)
	mux.HandleFunc("GET /switches", func(w http.ResponseWriter, _ *http.Request) { writeAdmin(w, http.StatusOK, s.Switches()) })
	mux.HandleFunc("POST /switches", s.adminSwitches)
	mux.HandleFunc("GET /ledger", s.adminLedger)
	mux.HandleFunc("GET /ledger/summary", func(w http.ResponseWriter, _ *http.Request) { writeAdmin(w, http.StatusOK, s.Summary()) })
	mux.HandleFunc("GET /requests", s.adminRequests)
	mux.HandleFunc("DELETE /requests", s.adminResetRequests)
	mux.HandleFunc("POST /revoke", s.adminRevoke)
	mux.HandleFunc("GET /ca", func(w http.ResponseWriter, _ *http.Request) { writePEM(w, s.TLSCertificate()) })
	mux.HandleFunc("GET /root", func(w http.ResponseWriter, _ *http.Request) { writePEM(w, s.RootCertificate()) })
	return mux
}

func (s *Server) adminAddFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	if !readAdmin(w, r, &f) {
		return
	}
	id, err := s.AddFault(f)
	if err != nil {
		writeAdminError(w, http.StatusBadRequest, err)
		return
	}
	writeAdmin(w, http.StatusCreated, map[string]string{"id": id})
}

func (s *Server) adminResetFaults(w http.ResponseWriter, _ *http.Request) {
	s.ResetFaults()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) adminRemoveFault(w http.ResponseWriter, r *http.Request) {
	if !s.RemoveFault(r.PathValue("id")) {
		writeAdminError(w, http.StatusNotFound, errors.New("no such fault"))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// adminSwitches changes the switches named in the body and leaves the others.
func (s *Server) adminSwitches(w http.ResponseWriter, r *http.Request) {
	switches := s.Switches()
	if !readAdmin(w, r, &switches) {
		return
	}
	if err := s.SetSwitches(switches); err != nil {
		writeAdminError(w, http.StatusBadRequest, err)
		return
	}
	writeAdmin(w, http.StatusOK, switches)
}

// adminLedger lists certificates, oldest first; commonName, profileID and status narrow the list.
func (s *Server) adminLedger(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	wanted := func(parameter, value string) bool { return !query.Has(parameter) || query.Get(parameter) == value }
	entries := []Entry{}
	for _, e := range s.Ledger() {
		if wanted("commonName", e.CommonName) && wanted("profileID", e.ProfileID) && wanted("status", e.Status) {
			entries = append(entries, e)
		}
	}
	writeAdmin(w, http.StatusOK, map[string]any{"count": len(entries), "entries": entries})
}

// adminRequests lists requests, oldest first; operation and commonName narrow the list.
func (s *Server) adminRequests(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	wanted := func(parameter, value string) bool { return !query.Has(parameter) || query.Get(parameter) == value }
	requests := []Request{}
	for _, request := range s.Requests() {
		if wanted("operation", string(request.Operation)) && wanted("commonName", request.CommonName) {
			requests = append(requests, request)
		}
	}
	writeAdmin(w, http.StatusOK, map[string]any{"count": len(requests), "requests": requests})
}

func (s *Server) adminResetRequests(w http.ResponseWriter, _ *http.Request) {
	s.requests.reset()
	w.WriteHeader(http.StatusNoContent)
}

// adminRevoke revokes by serial number or certificate id, as somebody in the vendor's portal would.
func (s *Server) adminRevoke(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	named := orDefault(query.Get("serial"), query.Get("id"))
	if err := s.RevokeSerial(named, orDefault(query.Get("reason"), reasonUnspecified)); err != nil {
		status := http.StatusInternalServerError
		if refused := (*refusal)(nil); errors.As(err, &refused) {
			status = refused.status
		}
		writeAdminError(w, status, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// readAdmin decodes a body strictly and answers 400 itself if that fails.
func readAdmin(w http.ResponseWriter, r *http.Request, target any) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(target)
	}
	if err != nil {
		writeAdminError(w, http.StatusBadRequest, err)
		return false
	}
	return true
}

func writeAdmin(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", mediaJSON)
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(body) // the reader has gone; nobody is left to tell
}

func writeAdminError(w http.ResponseWriter, status int, err error) {
	writeAdmin(w, status, map[string]string{"error": err.Error()})
}

func writePEM(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = io.WriteString(w, text)
}
