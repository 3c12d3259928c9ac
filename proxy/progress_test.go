package proxy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What gets on may take as long as it takes; what does not is given up, and so is what is made from it.
func TestWhileAdvancing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := whileAdvancing(t.Context(), time.Second)
		defer cancel()
		child, cancelChild := context.WithTimeout(ctx, time.Hour)
		defer cancelChild()
		for range 20 {
			time.Sleep(900 * time.Millisecond)
			progress(child)
		}
		if child.Err() != nil {
			t.Fatalf("it has ended: %v", child.Err())
		}
		if d, _ := ctx.Deadline(); time.Until(d) != stallLimit {
			t.Errorf("it ends in %v", time.Until(d))
		}
		start := time.Now()
		<-child.Done()
		if d := time.Since(start); d != stallLimit || !errors.Is(child.Err(), context.DeadlineExceeded) {
			t.Errorf("it ended after %v: %v", d, child.Err())
		}
		progress(ctx)
		if ctx.Err() == nil {
			t.Error("it goes on")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := whileAdvancing(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		<-ctx.Done()
		if d := time.Since(start); d != time.Second {
			t.Errorf("nothing was done, and it ended after %v", d)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		parent, end := context.WithCancel(t.Context())
		ctx, cancel := whileAdvancing(parent, time.Second)
		defer cancel()
		end()
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("it ended with %v", ctx.Err())
		}
	})
}
