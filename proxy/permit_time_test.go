package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

// A permission is believed for permittedFor from when Redis was asked, and not past a change.
func TestPermissionsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p permissions
		which := permission{"u", "CLIENT|ID"}
		fresh := func() bool { is, _ := p.has(which, time.Now()); return is }
		if fresh() {
			t.Fatal("permitted before anybody was asked")
		}
		p.add(which, time.Now(), 0)
		time.Sleep(permittedFor - 1)
		if !fresh() {
			t.Error("forgotten too early")
		}
		if is, _ := p.has(permission{"u", "CLIENT|INFO"}, time.Now()); is {
			t.Error("another command is permitted")
		}
		time.Sleep(time.Nanosecond)
		if fresh() {
			t.Error("believed too long")
		}
		_, epoch := p.has(which, time.Now())
		p.forget()
		p.add(which, time.Now(), epoch)
		if fresh() {
			t.Error("an answer from before the change is believed after it")
		}
	})
}
