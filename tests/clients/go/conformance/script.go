package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// script is the words of $CONFORMANCE_DO by their name.
type script map[string][]word

// word is the parts of one word's value.
type word []string

// names are all words that there are.
var names = []string{
	"load", "create", "fail-create", "close", "take", "pause", "resume", "fail", "report", "copy", "send", "try", "size",
	"describe", "setting", "checkpoint", "ahead", "hold", "closing", "tell", "progress", "source", "state", "committed",
}

func parse(text string) (script, error) {
	parsed := script{}
	for _, field := range strings.Fields(text) {
		name, value, found := strings.Cut(field, "=")
		if !found || !slices.Contains(names, name) {
			return nil, fmt.Errorf("%q is no word of docs/conformance.md", field)
		}
		parsed[name] = append(parsed[name], strings.Split(value, ":"))
	}
	return parsed, nil
}

// number is a part that is a number. A word that is none is a mistake of the case: the process ends.
func (w word) number(part int) int64 {
	number, err := strconv.ParseInt(w[part], 10, 64)
	if err != nil {
		panic(fmt.Sprintf("part %d of %q: %v", part, strings.Join(w, ":"), err))
	}
	return number
}

// duration is a part in milliseconds.
func (w word) duration(part int) time.Duration {
	return time.Duration(w.number(part)) * time.Millisecond
}

// at reports whether the word is about this record.
func (w word) at(offset int64) bool { return w[0] == "each" || w.number(0) == offset }
