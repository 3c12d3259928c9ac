package admin

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

// browser is a headless Chromium, driven over a pipe with the DevTools protocol: messages in JSON, each ended by a zero byte.
type browser struct {
	t    *testing.T
	to   *os.File
	next int

	mu       sync.Mutex // guards the rest
	replies  map[int]chan message
	problems []string // what the page has complained about
	gone     chan struct{}
}

type message struct {
	ID        int             `json:"id"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error"`
}

const chromiumTimeout = 60 * time.Second

// newBrowser starts Chromium, and skips the test where there is none; in CI that is a failure.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("Chromium is not installed (Debian: chromium)")
		}
		t.Skip("Chromium is not installed (Debian: chromium): the dashboard is not tested in a browser")
	}
	fromUs, to := pipe(t)
	from, toUs := pipe(t)
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{fromUs, toUs} // 3 and 4 there
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fromUs.Close()
	toUs.Close()
	b := &browser{t: t, to: to, replies: map[int]chan message{}, gone: make(chan struct{})}
	go b.listen(from)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		to.Close()
		from.Close()
		<-b.gone
	})
	return b
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func (b *browser) listen(from *os.File) {
	defer close(b.gone)
	in := bufio.NewReaderSize(from, 1<<20)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if m.ID != 0 {
			if c := b.replies[m.ID]; c != nil {
				c <- m
				delete(b.replies, m.ID)
			}
		} else if m.Method == "Runtime.exceptionThrown" || m.Method == "Log.entryAdded" {
			b.problems = append(b.problems, string(m.Params))
		}
		b.mu.Unlock()
	}
}

// call asks the browser (session "") or a page, and puts the answer into result unless that is nil.
func (b *browser) call(session, method string, params, result any) error {
	b.next++
	id, c := b.next, make(chan message, 1)
	b.mu.Lock()
	b.replies[id] = c
	b.mu.Unlock()
	body, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params, "sessionId": session})
	if session == "" {
		body, err = json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	}
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(body, 0)); err != nil {
		return fmt.Errorf("ask Chromium: %w", err)
	}
	select {
	case m := <-c:
		if m.Error != nil {
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-b.gone:
		return fmt.Errorf("%s: Chromium has ended", method)
	case <-time.After(chromiumTimeout):
		return fmt.Errorf("%s: Chromium does not answer", method)
	}
}

// page is one tab.
type page struct {
	b       *browser
	session string
}

// look is how a page is looked at.
type look struct {
	width, height int
	theme         string // light or dark
}

func (b *browser) open(url string, l look) *page {
	b.t.Helper()
	var made struct{ TargetID, SessionID string }
	b.must(b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &made))
	b.must(b.call("", "Target.attachToTarget", map[string]any{"targetId": made.TargetID, "flatten": true}, &made))
	p := &page{b, made.SessionID}
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		p.do(domain+".enable", nil)
	}
	p.look(l)
	p.do("Page.navigate", map[string]any{"url": url})
	return p
}

func (b *browser) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (p *page) do(method string, params map[string]any) {
	p.b.t.Helper()
	if params == nil {
		params = map[string]any{}
	}
	p.b.must(p.b.call(p.session, method, params, nil))
}

func (p *page) look(l look) {
	p.b.t.Helper()
	p.do("Emulation.setDeviceMetricsOverride", map[string]any{"width": l.width, "height": l.height, "deviceScaleFactor": 1, "mobile": l.width < 700})
	p.do("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": l.theme}}})
}

// eval runs an expression and puts its value into result.
func (p *page) eval(expression string, result any) {
	p.b.t.Helper()
	var reply struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	p.b.must(p.b.call(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &reply))
	if reply.ExceptionDetails != nil {
		p.b.t.Fatalf("%s: %s", expression, reply.ExceptionDetails)
	}
	if result != nil && len(reply.Result.Value) > 0 {
		p.b.must(json.Unmarshal(reply.Result.Value, result))
	}
}

// wait waits until an expression is true.
func (p *page) wait(what, expression string) {
	p.b.t.Helper()
	testenv.Eventually(p.b.t, 30*time.Second, what, func() bool {
		var ok bool
		p.eval("(() => { try { return Boolean("+expression+") } catch { return false } })()", &ok) // it may not be there yet
		return ok
	})
}

// complaints returns what pages have complained about since the last time: errors of scripts and of the network.
func (b *browser) complaints() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := strings.Join(b.problems, "\n")
	b.problems = nil
	return text
}

// shoot takes a picture of the whole page into the folder that SCREENSHOTS names, if it does.
func (p *page) shoot(name string) {
	p.b.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	var size struct{ Width, Height int }
	p.eval("({Width: innerWidth, Height: document.documentElement.scrollHeight})", &size)
	var shot struct{ Data string }
	p.b.must(p.b.call(p.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": 0, "width": size.Width, "height": size.Height, "scale": 1}}, &shot))
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	p.b.must(err)
	p.b.must(os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644))
}
