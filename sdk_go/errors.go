package sidecar

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Lengths in bytes that the sidecar takes; it cuts or refuses longer texts.
const (
	maxMessage = 8 << 10
	maxName    = 256
	maxStack   = 32 << 10
	maxReason  = 1 << 10
)

// RefusedError says that the sidecar refuses this process: it does not know the lambda's name, or not the token, ...
type RefusedError struct {
	Code    codes.Code
	Details string // the sidecar's text, which says what to do
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the sidecar refused this process (%s): %s", e.Code, printable(e.Details))
}

// SettingsError says that an option or an environment variable cannot be used.
type SettingsError struct {
	What   string // the setting
	Reason string // why, and what helps
}

func (e *SettingsError) Error() string { return e.What + ": " + e.Reason }

// UnfinishedError says what did not end within the drain timeout.
type UnfinishedError struct {
	What []string
}

func (e *UnfinishedError) Error() string {
	return "did not end within the drain timeout: " + strings.Join(e.What, "; ")
}

// PanicError is a panic of the lambda's code.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the error that was the panic's value, or nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// guard calls code of the lambda; a panic becomes a PanicError.
func guard(code func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{value, debug.Stack()}
		}
	}()
	return code()
}

type restartError struct{ error }

func (e restartError) Unwrap() error { return e.error }

// Restart makes an error recoverable, such as one of a database that is away: the partition gets a new lambda after a
// back-off, from its last checkpoint. Restart(nil) is nil.
func Restart(err error) error {
	if err == nil {
		return nil
	}
	return restartError{err}
}

type offsetError struct {
	error
	offset int64
}

func (e offsetError) Unwrap() error { return e.error }

// At says at which record an error happened, for [Partition.Fail] and [Partition.Report]. An error that Handle returns
// is about its record anyway. At(offset, nil) is nil.
func At(offset int64, err error) error {
	if err == nil {
		return nil
	}
	return offsetError{err, offset}
}

// failure is why a lambda cannot go on, or what it reported.
type failure struct {
	err    error
	offset *int64
	code   string // for programs and metrics
}

// failureOf finds out what At says about err.
func failureOf(err error, code string) failure {
	found := failure{err: err, code: code}
	if err == nil {
		found.err = errors.New("unknown error")
	}
	var at offsetError
	if errors.As(err, &at) && at.offset >= 0 {
		found.offset = &at.offset
	}
	return found
}

func (f failure) recoverable() bool {
	var restart restartError
	return errors.As(f.err, &restart)
}

// kind is the type of the error inside Restart and At.
func (f failure) kind() string {
	err := f.err
	for {
		switch wrapper := err.(type) {
		case restartError:
			err = wrapper.error
		case offsetError:
			err = wrapper.error
		case *PanicError:
			return clip(fmt.Sprintf("panic(%T)", wrapper.Value), maxName)
		default:
			return clip(fmt.Sprintf("%T", err), maxName)
		}
	}
}

func (f failure) message() string { return clip(f.err.Error(), maxMessage) }

func (f failure) stack() string {
	var panicked *PanicError
	if errors.As(f.err, &panicked) {
		return clip(string(panicked.Stack), maxStack)
	}
	return ""
}

// attributes are for a log.
func (f failure) attributes() []any {
	attributes := []any{"error", printable(f.message()), "code", f.code}
	if f.offset != nil {
		attributes = append(attributes, "offset", *f.offset)
	}
	if stack := f.stack(); stack != "" {
		attributes = append(attributes, "stack", stack)
	}
	return attributes
}

// reasonOf is the text of an error of gRPC, for a log.
func reasonOf(err error) string {
	if known, ok := status.FromError(err); ok {
		return known.Code().String() + ": " + printable(known.Message())
	}
	return printable(err.Error())
}

// clip cuts a text to at most limit bytes, and makes it valid UTF-8, as protobuf demands.
func clip(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "")
	}
	return text
}

// printable escapes what could control a terminal. Texts of the sidecar and of records are not to be trusted.
func printable(text string) string {
	var clean strings.Builder
	for _, char := range text {
		if unicode.IsPrint(char) {
			clean.WriteRune(char)
		} else {
			quoted := strconv.QuoteRune(char)
			clean.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return clean.String()
}
