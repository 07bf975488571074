// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
)

// Operation names a vendor endpoint in faults, permissions and the request log.
type Operation string

// The operations. OperationAny matches all of them in a fault.
const (
	OperationAny           Operation = "any"
	OperationEnroll        Operation = "enroll"
	OperationRenew         Operation = "renew"
	OperationSearch        Operation = "search"
	OperationRevoke        Operation = "revoke"
	OperationSpecification Operation = "specification"
	OperationDevice        Operation = "device"
)

func allOperations() []Operation {
	return []Operation{OperationEnroll, OperationRenew, OperationSearch, OperationRevoke, OperationSpecification, OperationDevice}
}

const (
	mediaJSON = "application/json"
	// maxRequestBody is far above any enroll request.
	maxRequestBody = 1 << 20
)

// operation is one vendor endpoint.
type operation struct {
	name Operation
	// identify finds out which profile and common name the request is about, for faults and the log. It refuses only what
	// cannot be read.
	identify func(*Server, *call) error
	// perform does the work and returns the proper answer.
	perform func(*Server, *call) (reply, error)
}

// call is one request on its way through the server.
type call struct {
	request    *http.Request
	credential credential
	body       []byte
	fault      *Fault // the scripted misbehaviour of this request, or nil

	profileID  string
	commonName string
	// certificateID is the certificate the request names or, later, the one issued for it.
	certificateID string

	issue       issueRequest
	predecessor *Entry
}

// reply is an answer before delivery.
type reply struct {
	status      int
	contentType string
	header      http.Header
	body        []byte
	// delivered runs after the whole answer was handed to the connection.
	delivered func()
	// misdeliver is the fault deliver acts out, or nil.
	misdeliver *Fault
}

// routes is the vendor's surface; everything else is 404, a wrong verb 405.
func (s *Server) routes() http.Handler {
	enroll := operation{OperationEnroll, (*Server).identifyIssue, (*Server).enroll}
	renew := operation{OperationRenew, (*Server).identifyRenew, (*Server).renew}
	search := operation{OperationSearch, (*Server).identifySearch, (*Server).search}
	revoke := operation{OperationRevoke, (*Server).identifyRevoke, (*Server).revoke}
	specification := operation{OperationSpecification, (*Server).identifySpecification, (*Server).specification}
	devices := operation{OperationDevice, (*Server).identifyNothing, (*Server).listDevices}
	device := operation{OperationDevice, (*Server).identifyNothing, (*Server).getDevice}

	mux := http.NewServeMux()
	route := func(pattern string, verbs map[string]operation) { mux.Handle(pattern, s.verbs(verbs)) }
	route("/iot/api/v1/certificate", map[string]operation{http.MethodPost: enroll, http.MethodGet: search})
	route("/iot/api/v1/certificate/{$}", map[string]operation{http.MethodPost: enroll})
	route("/iot/api/v1/certificate/{certificate}/renew", map[string]operation{http.MethodPost: renew, http.MethodPut: renew})
	route("/iot/api/v1/certificate/{certificate}/revoke", map[string]operation{http.MethodPut: revoke})
	route("/iot/api/v1/enrollment-profile/{profile}/enrollment-specification", map[string]operation{http.MethodGet: specification})
	route("/iot/api/v2/device", map[string]operation{http.MethodGet: devices})
	route("/iot/api/v2/device/{device}", map[string]operation{http.MethodGet: device})
	mux.Handle("/", s.verbs(nil))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if clean := path.Clean(r.URL.Path); clean != strings.TrimSuffix(r.URL.Path, "/") {
			s.verbs(nil).ServeHTTP(w, r) // ServeMux would redirect; the vendor is not known to
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// verbs serves one path. No verbs means the path does not exist.
func (s *Server) verbs(verbs map[string]operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{request: r}
		op, problem := operationFor(verbs, r)
		logged := s.requests.arrived(r, op.name, s.now())
		answer := s.answer(op, problem, c, logged)
		if !answer.misdeliver.is(ActionDrop) {
			s.requests.update(logged, func(entry *Request) { entry.Status = answer.status })
		}
		s.deliver(w, answer)
		s.requests.update(logged, func(entry *Request) { entry.Done = true })
		s.log.Info("request", "operation", op.name, "method", r.Method, "path", r.URL.Path, "status", answer.status,
			"credential", c.credential.name, "profile", c.profileID, "commonName", c.commonName, "fault", c.fault.action())
	})
}

// operationFor finds the operation of a request, or the refusal of an unknown path or verb.
func operationFor(verbs map[string]operation, r *http.Request) (operation, error) {
	op, ok := verbs[r.Method]
	switch {
	case ok:
		return op, nil
	case len(verbs) == 0:
		return operation{}, refuse(http.StatusNotFound, codeRouteNotFound, "the stand-in has no %s", r.URL.Path)
	}
	return operation{}, refuse(http.StatusMethodNotAllowed, codeMethod, "%s is not allowed here", r.Method)
}

// answer takes a request to its reply. problem is why there is no operation.
func (s *Server) answer(op operation, problem error, c *call, logged uint64) reply {
	switch s.Switches().Mode {
	case ModeDrop:
		return reply{misdeliver: &Fault{Action: ActionDrop}}
	case ModeUnavailable:
		return refusalReply(refuse(http.StatusServiceUnavailable, codeUnavailable, "the service is down for maintenance"))
	}
	if problem != nil {
		return refusalReply(problem)
	}
	err := s.admit(op, c)
	if err == nil {
		err = op.identify(s, c)
	}
	s.requests.update(logged, func(entry *Request) {
		entry.Credential, entry.Body = c.credential.name, maskBody(c.body)
		entry.ProfileID, entry.CommonName, entry.CertificateID = c.profileID, c.commonName, c.certificateID
	})
	if err != nil {
		return refusalReply(err)
	}
	answer := s.performWithFault(op, c, logged)
	s.requests.update(logged, func(entry *Request) { entry.CertificateID = c.certificateID })
	return answer
}

// admit authenticates and reads the body.
func (s *Server) admit(op operation, c *call) error {
	var err error
	if c.credential, err = s.credentials.authenticate(c.request, s.now()); err != nil {
		return err
	}
	if err := c.credential.may(op.name, s.now()); err != nil {
		return err
	}
	if !acceptsJSON(c.request.Header.Values("Accept")) {
		return refuse(http.StatusNotAcceptable, codeNotAcceptable, "the stand-in answers in JSON only")
	}
	c.body, err = io.ReadAll(http.MaxBytesReader(nil, c.request.Body, maxRequestBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return invalidRequest("the body is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return invalidRequest("the body cannot be read: %v", err)
	}
	media, _, _ := mime.ParseMediaType(c.request.Header.Get("Content-Type"))
	if len(c.body) > 0 && media != mediaJSON {
		return refuse(http.StatusUnsupportedMediaType, codeUnsupportedType, "Content-Type must be application/json, not %q", media)
	}
	return nil
}

// performWithFault acts out the scripted misbehaviour around the work.
func (s *Server) performWithFault(op operation, c *call, logged uint64) reply {
	c.fault = s.faults.take(op.name, c.profileID, c.commonName)
	if c.fault != nil {
		s.requests.update(logged, func(entry *Request) { entry.Fault, entry.FaultID = c.fault.Action, c.fault.ID })
	}
	if answer, instead := s.actAt(StageBeforeCommit, c.fault); instead {
		return answer
	}
	proper, err := op.perform(s, c)
	if err != nil {
		proper = refusalReply(err)
	}
	if answer, instead := s.actAt(StageAfterCommit, c.fault); instead {
		return answer
	}
	proper.misdeliver = c.fault
	return proper
}

// acceptsJSON reads Accept headers. None means anything.
func acceptsJSON(headers []string) bool {
	if len(headers) == 0 {
		return true
	}
	for part := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		media, parameters, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil || parameters["q"] == "0" {
			continue
		}
		if media == mediaJSON || media == "application/*" || media == "*/*" {
			return true
		}
	}
	return false
}
