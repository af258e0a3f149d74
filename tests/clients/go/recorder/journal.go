package main

import (
	"encoding/json"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// fields of an event.
type fields map[string]any

// journal is the history that a process writes: one JSON line for each event, on disk before the event has any effect.
//
// One system call writes a line, so it is complete or missing. Each line has both clocks: the monotonic one, which all
// processes of a machine share, and the wall clock, which is Kafka's.
type journal struct {
	mu   sync.Mutex
	file *os.File
}

func openJournal(path string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &journal{file: file}, nil
}

func (j *journal) write(kind string, event fields) error {
	line := fields{"at": monotonic(), "wall": float64(time.Now().UnixNano()) / 1e9, "kind": kind}
	for name, value := range event {
		line[name] = value
	}
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(append(data, '\n')); err != nil {
		return err
	}
	return j.file.Sync()
}

// monotonic is CLOCK_MONOTONIC in seconds, as Python's time.monotonic(). Go's own reading of it is not absolute.
func monotonic() float64 {
	const clockMonotonic = 1
	var now syscall.Timespec
	_, _, failed := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0)
	if failed != 0 {
		panic(failed)
	}
	return float64(now.Sec) + float64(now.Nsec)/1e9
}
