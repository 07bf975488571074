// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"net/http"
	"strconv"
	"time"
)

// actAt acts out a staged fault at its stage. instead means that answer takes the place of whatever would come next.
func (s *Server) actAt(stage Stage, f *Fault) (answer reply, instead bool) {
	if f == nil || orDefault(string(f.Stage), string(StageBeforeCommit)) != string(stage) {
		return reply{}, false
	}
	switch f.Action {
	case ActionHold, ActionDelay:
		if !s.wait(f) {
			return reply{misdeliver: &Fault{Action: ActionDrop}}, true
		}
	case ActionDrop:
		return reply{misdeliver: f}, true
	case ActionRespond:
		return s.scripted(f.Response), true
	}
	return reply{}, false
}

// wait holds a request. It reports false when the server closes meanwhile. A client that gives up changes nothing: the
// vendor does not notice either, and issues all the same.
func (s *Server) wait(f *Fault) bool {
	var elapsed <-chan time.Time
	var released <-chan struct{}
	if f.Hold || f.Action == ActionHold {
		released = s.faults.released(f.ID)
	} else {
		timer := time.NewTimer(time.Duration(f.Delay))
		defer timer.Stop()
		elapsed = timer.C
	}
	select {
	case <-s.closing:
		return false
	case <-elapsed:
	case <-released:
	}
	return true
}

// scripted builds the answer of a respond fault.
func (s *Server) scripted(r Response) reply {
	if r.Location != "" {
		r.Status = orStatus(r.Status, http.StatusTemporaryRedirect)
		r.Shape = orDefault(r.Shape, ShapeEmpty)
	}
	r.Status = orStatus(r.Status, http.StatusInternalServerError)
	r.Code = orDefault(r.Code, codeInternal)
	r.Message = orDefault(r.Message, "scripted fault")
	answer := scriptedBody(r)
	answer.contentType = orDefault(r.ContentType, answer.contentType)
	answer.header = http.Header{}
	for name, value := range r.Header {
		answer.header.Set(name, value)
	}
	if r.Location != "" {
		answer.header.Set("Location", r.Location)
	}
	if r.RetryAfterDate != 0 {
		answer.header.Set("Retry-After", s.now().Add(time.Duration(r.RetryAfterDate)).UTC().Format(http.TimeFormat))
	}
	if r.RetryAfter != "" {
		answer.header.Set("Retry-After", r.RetryAfter)
	}
	return answer
}

func scriptedBody(r Response) reply {
	shape := r.Shape
	if shape == "" && r.Body != "" {
		shape = ShapeRaw
	}
	switch shape {
	case ShapeError:
		return jsonReply(r.Status, map[string]errorWire{"error": {Code: r.Code, Message: r.Message}})
	case ShapeMessage:
		return jsonReply(r.Status, map[string]any{"message": r.Message, "code": r.Status})
	case ShapeHTML:
		page := "<!DOCTYPE html><html><head><title>" + strconv.Itoa(r.Status) + "</title></head><body><h1>" + r.Message + "</h1></body></html>\n"
		return reply{status: r.Status, contentType: "text/html; charset=utf-8", body: []byte(page)}
	case ShapeEmpty:
		return reply{status: r.Status}
	case ShapeRaw:
		return reply{status: r.Status, contentType: mediaJSON, body: []byte(r.Body)}
	}
	return jsonReply(r.Status, errorsWire{Errors: []errorWire{{Code: r.Code, Message: r.Message}}})
}

func orStatus(status, fallback int) int {
	if status == 0 {
		return fallback
	}
	return status
}
