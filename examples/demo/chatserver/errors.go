package chatserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// apiError is the body of every error, and its status.
type apiError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
	status  int
}

// errorBody is what goes over the wire.
type errorBody struct {
	Error *apiError `json:"error"`
}

func (e *apiError) write(w http.ResponseWriter) { writeJSON(w, e.status, errorBody{e}) }

const (
	typeRequest = "invalid_request_error"
	typeServer  = "server_error"

	// statusClientGone follows nginx; no status of RFC 9110 says this.
	statusClientGone = 499
)

func newError(status int, kind, message, param, code string) *apiError {
	e := &apiError{Message: message, Type: kind, status: status}
	if param != "" {
		e.Param = &param
	}
	if code != "" {
		e.Code = &code
	}
	return e
}

func invalid(param, code, format string, args ...any) *apiError {
	return newError(http.StatusBadRequest, typeRequest, fmt.Sprintf(format, args...), param, code)
}

func notFound(message, param, code string) *apiError {
	return newError(http.StatusNotFound, typeRequest, message, param, code)
}

func unknownModel(name string) *apiError {
	return notFound(fmt.Sprintf("There is no model %q here; GET /v1/models lists what there is.", name), "model", "model_not_found")
}

func methodNotAllowed(got, want string) *apiError {
	message := fmt.Sprintf("Method %s is not allowed here; use %s.", got, want)
	return newError(http.StatusMethodNotAllowed, typeRequest, message, "", "method_not_allowed")
}

// interrupted describes why a generation ended early.
func interrupted(err error) *apiError {
	switch {
	case errors.Is(err, errTimeout):
		return newError(http.StatusGatewayTimeout, typeServer, "The answer was not complete in time; ask for fewer tokens.", "", "timeout")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return newError(statusClientGone, typeRequest, "The client closed the request before the answer.", "", "client_closed_request")
	}
	return newError(http.StatusInternalServerError, typeServer, "The answer could not be delivered.", "", "internal_error")
}

// writeJSON ignores errors of the connection: there is nobody left to tell.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}
