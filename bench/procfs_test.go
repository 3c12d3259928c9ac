package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const line = "42 (a) b (c) S 7 42 42 0 -1 4194304 100 0 0 0 150 25 300 4 20 0 1 0 12345 1000000 50 18446744073709551615 1\n"
	got, err := parseStat([]byte(line))
	want := procStat{pid: 42, parent: 7, cpu: 1750 * time.Millisecond, childCPU: 3040 * time.Millisecond,
		rss: 50 * int64(os.Getpagesize())}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, text := range []string{"", "42 (x", "42 (x) S 1 2 3"} {
		if _, err := parseStat([]byte(text)); !errors.Is(err, errGone) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := parseStat([]byte("42 (x) S 7 42 42 0 -1 4194304 100 0 0 0 y 25 0 0 20 0 1 0 12345 1000000 50 1\n")); err == nil {
		t.Error("a time that is no number was accepted")
	}
}

func TestReadProcessSeesOurOwnWork(t *testing.T) {
	before, err := readProcess(os.Getpid())
	if err != nil || before.rss <= 0 {
		t.Fatalf("read ourselves: %+v, %v", before, err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		after, err := readProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after.cpu >= before.cpu+5*tick {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("busy for seconds, and no processor time is counted")
		}
	}
	if _, err := readProcess(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a process that does not exist: %v", err)
	}
	if got, err := readProcess(0); err != nil || got != (process{}) {
		t.Errorf("no process: %+v, %v", got, err)
	}
}

func TestReadFamilyCountsChildren(t *testing.T) {
	child := exec.Command("cat") // waits for its input
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
	}()
	alone, err := readProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	kid, err := readProcess(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	family, err := readFamily(os.Getpid())
	if err != nil || family.rss < alone.rss/2+kid.rss || family.cpu < alone.cpu {
		t.Errorf("family %+v, %v; alone %+v, child %+v", family, err, alone, kid)
	}
}

// A process may end between the opening of its file and the reading: it is left out, and fails no measurement.
func TestReadStatOfAProcessThatHasJustEnded(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if _, err := readStatFrom(f); !errors.Is(err, errGone) {
		t.Errorf("%v, want %v", err, errGone)
	}
}
