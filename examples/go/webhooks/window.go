package main

// window is the records whose requests were begun, in their order. It tells up to which one all are done.
type window struct {
	records []pending
	low     int64 // the last record up to which all are done
	any     bool  // whether there is one
}

type pending struct {
	offset int64
	done   bool
}

func (w *window) begin(offset int64) {
	w.records = append(w.records, pending{offset: offset})
}

// done marks a record; it returns the last one up to which all are done, and -1 when the first is not.
func (w *window) done(offset int64) int64 {
	for i := range w.records {
		if w.records[i].offset == offset {
			w.records[i].done = true
			break
		}
	}
	for len(w.records) > 0 && w.records[0].done {
		w.low, w.any = w.records[0].offset, true
		w.records = w.records[1:]
	}
	if !w.any {
		return -1
	}
	return w.low
}

// first is the oldest record that is not done; there must be one.
func (w *window) first() int64 { return w.records[0].offset }
