package sidecar

import (
	"slices"
	"time"
)

const (
	// How long a failure may wait to be taken before it fails the lambda.
	patience     = 10 * time.Second
	heldPatience = time.Second // if it holds back a checkpoint
	// How long a failure that was taken still holds back checkpoints. The goroutine that took it may be about to call
	// Fail, while another one has made, or makes, a checkpoint that passes the record.
	grace = time.Second
)

// outcomes is what became of the records that a lease produced, and which of its checkpoints may be sent: no checkpoint
// may silently pass a record that is not written.
//
//  1. A checkpoint is sent when the outcome of every record that was produced before it is known.
//  2. A failure is taken by Delivery.Wait. Until then, and for a moment more, it holds back the checkpoints that were
//     made after its Produce.
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
	failed     []*failedOutput  // that hold back checkpoints
	over       bool
	timer      *time.Timer
	due        time.Time // when the timer ends
}

// failedOutput is a failure until it holds back nothing any more.
type failedOutput struct {
	delivery *Delivery
	taken    bool
	due      time.Time // when its patience, or its grace, is over
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
	if n := len(o.held); n > 0 && o.held[n-1].needs == o.put {
		o.held[n-1].offset = offset
	} else {
		o.held = append(o.held, heldCheckpoint{o.put, offset})
	}
	o.release()
	return false
}

// highest is the highest checkpoint that is held back, or none.
func (o *outcomes) highest() int64 {
	if n := len(o.held); n > 0 {
		return o.held[n-1].offset
	}
	return none
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
	defer o.busy(-len(batch)) // when the checkpoints that waited are on their way: in between nothing is at rest
	o.known = batch[len(batch)-1].number
	if o.underWay == 0 {
		o.known = o.put
	}
	for _, delivery := range batch {
		o.note(delivery)
	}
	o.release()
}

// note keeps a failure.
func (o *outcomes) note(delivery *Delivery) {
	if delivery.err != nil && !o.over {
		failed := &failedOutput{delivery: delivery, due: time.Now().Add(patience)}
		o.failed = append(o.failed, failed)
		o.lookAt(failed.due)
	}
}

// taken notes that Wait has told a failure.
func (o *outcomes) taken(delivery *Delivery) {
	for _, failed := range o.failed {
		if failed.delivery == delivery && !failed.taken {
			failed.taken, failed.due = true, time.Now().Add(grace)
			o.lookAt(failed.due)
		}
	}
}

// settle ends the grace of all that was taken: the lambda's code has returned, and decides nothing more.
func (o *outcomes) settle() {
	o.failed = slices.DeleteFunc(o.failed, func(failed *failedOutput) bool { return failed.taken })
	o.release()
}

// release sends the held checkpoints that need not be held back any more: the highest of them.
func (o *outcomes) release() {
	blocked := o.known
	for _, failed := range o.failed {
		blocked = min(blocked, failed.delivery.number-1)
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
	if len(o.held) == 0 || o.held[0].needs > o.known {
		return
	}
	soon := time.Now().Add(heldPatience)
	for _, failed := range o.failed {
		if failed.due.After(soon) {
			failed.due = soon
			o.lookAt(soon)
		}
	}
}

// look forgets the failures whose grace is over; it returns one that nobody took in time, or nil.
func (o *outcomes) look() (untaken *Delivery) {
	now := time.Now()
	o.failed = slices.DeleteFunc(o.failed, func(failed *failedOutput) bool {
		if failed.due.After(now) {
			return false
		}
		if !failed.taken && untaken == nil {
			untaken = failed.delivery
		}
		return failed.taken
	})
	if untaken != nil {
		return untaken
	}
	o.release()
	for _, failed := range o.failed {
		o.lookAt(failed.due)
	}
	return nil
}

// lookAt calls look at this time, unless it is called earlier anyway.
func (o *outcomes) lookAt(due time.Time) {
	if o.over || o.timer != nil && !due.Before(o.due) {
		return
	}
	o.stopTimer()
	o.busy(1)
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(due), func() {
		var untaken *Delivery
		o.locked(func() {
			if o.timer == timer { // otherwise it was stopped when it had fired already
				o.busy(1) // until look has done what is to be done
				defer o.busy(-1)
				o.stopTimer()
				untaken = o.look()
			}
		})
		if untaken != nil {
			o.fail(untaken)
		}
	})
	o.timer, o.due = timer, due
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
	highest := o.highest()
	o.held, o.failed = nil, nil
	return highest
}
