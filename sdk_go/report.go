package sidecar

import (
	"time"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// maxReports of one lease may be under way.
const maxReports = 100

// retryPauses are how long to wait before each attempt to send an error.
var retryPauses = []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, time.Second}

func (l *lease) errorRequest(f failure, action pb.ErrorAction) *pb.ErrorRequest {
	return &pb.ErrorRequest{
		Lease: l.id, Action: action, Offset: f.offset, Code: f.code,
		Message: f.message(), Type: f.kind(), Stack: f.stack(),
	}
}

// sendError sends it, several times if need be; it reports whether the sidecar has it. When the stream is over nobody
// needs it any more.
func (l *lease) sendError(request *pb.ErrorRequest) bool {
	for _, pause := range retryPauses {
		select {
		case <-l.link.Done():
			return false
		case <-time.After(pause):
		}
		response, err := l.sidecar.Error(l.link, request)
		if err == nil {
			l.log.Info("the sidecar has the error", "outcome", response.Outcome.String())
			return true
		}
		l.log.Warn("the error could not be reported", "reason", reasonOf(err))
	}
	return false
}

// report sends a report in a goroutine of its own.
func (l *lease) report(f failure) {
	l.mu.Lock()
	ended, many := l.ending != nil, l.reports >= maxReports
	if !ended && !many {
		l.reports++
	}
	l.mu.Unlock()
	if ended || many {
		l.log.Warn("not reported", "error", printable(f.message()), "lease_has_ended", ended, "too_many", many)
		return
	}
	l.log.Warn("reported", f.attributes()...)
	request := l.errorRequest(f, pb.ErrorAction_ERROR_ACTION_REPORT)
	l.busy(1)
	go func() {
		defer l.busy(-1)
		if _, err := l.sidecar.Error(l.link, request); err != nil {
			l.log.Warn("the report did not come through", "reason", reasonOf(err))
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.reports--
	}()
}
