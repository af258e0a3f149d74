package sidecar

import (
	"slices"
	"time"
)

// How long a failure may wait to be taken before it fails the lambda.
const (
	patience     = 10 * time.Second
	heldPatience = time.Second // if it holds back a checkpoint
)

// outcomes is what became of the records that a lease produced, and which of its checkpoints may be sent: no checkpoint
// may silently pass a record that is not written.
//
//  1. A checkpoint is sent when the outcome of every record that was produced before it is known.
//  2. A failure is taken by Delivery.Wait. Until then it holds back the checkpoints that were made after its Produce.
//  3. A failure that is not taken in time fails the lambda.
//
// Its lease's mutex guards it.
type outcomes struct {
	pass   func(offset int64) // sends a checkpoint that need not be held back any more
	fail   func(*Delivery)    // ends the lambda; called without the mutex
	locked func(func())       // runs a function with the mutex
	busy   func(int)

	put, known int64 // how many records were produced, and how many outcomes are known from the first record on
	underWay   int
	held       []heldCheckpoint // both of its fields ascend
	failed     []*Delivery      // that nobody has taken
	over       bool
	timer      *time.Timer
	due        time.Time // when the timer ends
}

type heldCheckpoint struct {
	needs  int64 // how many outcomes have to be known
	offset int64
}

// admits reports whether a checkpoint that is made now may be sent now; otherwise it is kept until it may.
func (o *outcomes) admits(offset int64) bool {
	if o.over {
		return false
	}
	if o.underWay == 0 && len(o.held) == 0 && len(o.failed) == 0 {
		return true
	}
	if n := len(o.held); n > 0 && offset <= o.held[n-1].offset {
		return false // a higher one waits for fewer records
	} else if n > 0 && o.held[n-1].needs == o.put {
		o.held[n-1].offset = offset
	} else {
		o.held = append(o.held, heldCheckpoint{o.put, offset})
	}
	o.release()
	return false
}

// add counts a record that was produced.
func (o *outcomes) add(delivery *Delivery) {
	o.put++
	delivery.number = o.put
	if !delivery.known() {
		o.underWay++
		o.busy(1)
		return
	}
	if o.underWay == 0 {
		o.known = o.put
	}
	o.note(delivery)
}

// knownTo notes that the outcomes of a request are known now.
func (o *outcomes) knownTo(batch []*Delivery) {
	if o.over {
		return
	}
	o.underWay -= len(batch)
	o.busy(-len(batch))
	o.known = batch[len(batch)-1].number
	if o.underWay == 0 {
		o.known = o.put
	}
	for _, delivery := range batch {
		o.note(delivery)
	}
	o.release()
}

// note keeps a failure until it is taken.
func (o *outcomes) note(delivery *Delivery) {
	if delivery.err == nil || o.over {
		return
	}
	o.failed = append(o.failed, delivery)
	o.judgeIn(patience)
}

// taken forgets a failure that Wait has told.
func (o *outcomes) taken(delivery *Delivery) {
	if i := slices.Index(o.failed, delivery); i >= 0 {
		o.failed = slices.Delete(o.failed, i, i+1)
		o.release()
	}
}

// release sends the held checkpoints that need not be held back any more: the highest of them.
func (o *outcomes) release() {
	blocked := o.known
	for _, delivery := range o.failed {
		blocked = min(blocked, delivery.number-1)
	}
	count := 0
	for count < len(o.held) && o.held[count].needs <= blocked {
		count++
	}
	if count > 0 {
		told := o.held[count-1].offset
		o.held = slices.Delete(o.held, 0, count)
		o.pass(told)
	}
	if len(o.failed) == 0 {
		o.stopTimer()
	} else if len(o.held) > 0 && o.held[0].needs <= o.known {
		o.judgeIn(heldPatience)
	}
}

// judgeIn fails the lambda after this time, or earlier if that was said before, unless the failures are taken.
func (o *outcomes) judgeIn(wait time.Duration) {
	due := time.Now().Add(wait)
	if o.timer != nil && !due.Before(o.due) {
		return
	}
	o.stopTimer()
	o.due = due
	o.busy(1)
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		var untaken *Delivery
		o.locked(func() {
			if o.timer == timer && len(o.failed) > 0 {
				untaken = o.failed[0]
			}
		})
		if untaken != nil {
			o.fail(untaken)
		}
	})
	o.timer = timer
}

func (o *outcomes) stopTimer() {
	if o.timer != nil {
		o.timer.Stop()
		o.timer = nil
		o.busy(-1)
	}
}

// end ends with the lease: no checkpoint is sent any more. It returns the highest of those that were held back, or none.
func (o *outcomes) end() int64 {
	if o.over {
		return none
	}
	o.over = true
	o.busy(-o.underWay)
	o.stopTimer()
	highest := none
	if n := len(o.held); n > 0 {
		highest = o.held[n-1].offset
	}
	o.held, o.failed = nil, nil
	return highest
}
