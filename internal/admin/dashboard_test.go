package admin

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"credproxy/internal/testenv"
)

var desktop, phone = look{1360, 900, "light"}, look{390, 844, "light"}

func (l look) dark() look { l.theme = "dark"; return l }

// Every number that the page shows is that of CREDPROXY STATS.
func TestPageShowsTheStats(t *testing.T) {
	e := newEnv(t, options{})
	b := newBrowser(t)
	e.fill(30, 2000)
	e.credproxy("EVICT", "bot-0001", "bot-0002", "bot-0003")
	must(t, e.client.Get(context.Background(), "wa:bot-0002:creds").Err())
	e.credproxy("SYNC")
	p := b.open(e.url, desktop)
	p.wait("the page shows sessions", `document.querySelectorAll("#sessions tbody tr").length === 25`)
	p.eval(`document.querySelector("#counters").open = true`, nil)
	// What changes by itself is left out; CREDPROXY STATS counts as a command, too.
	moving := map[string]bool{"uptime_seconds": true, "commands": true, "memory_sampled_at": true, "memory_used_bytes": true, "memory_percent_used": true,
		"memory_rss_bytes": true, "memory_fragmentation": true, "clients": true}
	testenv.Eventually(t, 15*time.Second, "the page shows what STATS says", func() bool {
		var shown []struct{ Stat, Raw string }
		p.eval(`[...document.querySelectorAll("[data-stat]")].map(n => ({Stat: n.dataset.stat, Raw: n.dataset.raw}))`, &shown)
		stats, seen := e.stats(), map[string]bool{}
		for _, s := range shown {
			if seen[s.Stat] = true; stats[s.Stat] != s.Raw && !moving[s.Stat] {
				return false
			}
		}
		for name := range stats {
			if !seen[name] {
				t.Fatalf("%s is not on the page", name)
			}
		}
		return len(shown) > len(stats) // the tiles, too
	})
	if text := b.complaints(); text != "" {
		t.Errorf("the page complains: %s", text)
	}
}

// Ids come from clients. None becomes markup, wherever it is shown.
func TestIdsAreText(t *testing.T) {
	e := newEnv(t, options{token: testToken})
	b := newBrowser(t)
	evil := `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	must(t, e.client.Set(context.Background(), "wa:"+evil+":creds", "v", 0).Err())
	p := b.open(e.url, desktop)
	p.wait("the session is listed", `document.querySelector("#sessions tbody tr")`)
	p.eval(`document.querySelector("#sessions tbody tr").click()`, nil)
	p.wait("the session is shown in full", `document.querySelector("#session").open && document.querySelector("#session p.muted").innerText.length > 10`)
	var found struct {
		Heading, Title string
		Images         int
	}
	p.eval(`({Heading: document.querySelector("#session h3").textContent, Title: document.title, Images: document.querySelectorAll("main img, dialog img, main script").length})`, &found)
	if found.Heading != evil || found.Title != "credproxy" || found.Images != 0 {
		t.Errorf("shown as %+v", found)
	}
	if text := b.complaints(); text != "" {
		t.Errorf("the page complains: %s", text)
	}
}

func TestSearchAndSort(t *testing.T) {
	e := newEnv(t, options{})
	b := newBrowser(t)
	e.fill(40, 100)
	for range 5 {
		must(t, e.client.Get(context.Background(), "wa:bot-0007:creds").Err())
	}
	p := b.open(e.url, desktop)
	p.wait("sessions are listed", `document.querySelectorAll("#sessions tbody tr").length === 25`)
	p.eval(`document.querySelector("#search").value = "BOT-003"; document.querySelector("#search").dispatchEvent(new Event("input"))`, nil)
	p.wait("the list is searched", `document.querySelector("#matching").innerText === "10 match"`)
	p.eval(`document.querySelector("#search").value = ""; document.querySelector("#search").dispatchEvent(new Event("input"))`, nil)
	p.eval(`[...document.querySelectorAll("#sessions th button")].find(n => n.innerText.startsWith("Hits")).click()`, nil)
	p.wait("the list is sorted by hits", `document.querySelector("#sessions tbody tr button").innerText === "bot-0007"`)
	p.eval(`document.querySelector("#search").value = "nobody"; document.querySelector("#search").dispatchEvent(new Event("input"))`, nil)
	p.wait("an empty list says so", `document.querySelector("#no-sessions").innerText === "No session matches."`)
}

// The token unlocks actions in the page; a wrong one is told.
func TestUnlockAndAct(t *testing.T) {
	e := newEnv(t, options{token: testToken})
	b := newBrowser(t)
	e.fill(3, 100)
	p := b.open(e.url, desktop)
	p.wait("the page is there", `document.querySelectorAll("#sessions tbody tr").length === 3 && document.querySelector("#actions").hidden`)
	unlock := func(token string) {
		p.eval(fmt.Sprintf(`(() => { const d = document.querySelector("#unlock"); if (!d.open) document.querySelector("#lock").click();
			d.querySelector("input").value = %q; d.querySelector("form").requestSubmit(); })()`, token), nil)
	}
	unlock("not the right token at all")
	p.wait("a wrong token is told", `document.querySelector("#unlock .problem")?.innerText.startsWith("the token is wrong")`)
	b.complaints() // Chromium notes the 401
	unlock(testToken)
	p.wait("actions are there", `!document.querySelector("#actions").hidden && !document.querySelector("#unlock").open`)
	press := func(where, label string) {
		p.eval(fmt.Sprintf(`[...document.querySelectorAll("%s button")].find(n => n.textContent === %q).click()`, where, label), nil)
	}
	press("#actions", "Pause eviction")
	p.wait("eviction is paused", `document.querySelector("#findings").innerText.includes("Eviction is paused")`)
	press("#actions", "Resume eviction")
	p.wait("eviction goes on", `!document.querySelector("#findings").innerText.includes("paused")`)
	p.eval(`document.querySelector("#sessions tbody tr").click()`, nil)
	p.wait("a session is open", `document.querySelector("#session .muted")`)
	press("#session", "Evict")
	p.wait("the session is evicted", `document.querySelector("#session").innerText.includes("in Postgres")`)
	p.shoot("session-dialog")
	if got := e.stats()["sessions_evicted"]; got != "1" {
		t.Errorf("%s sessions are evicted", got)
	}
	if text := b.complaints(); text != "" {
		t.Errorf("the page complains: %s", text)
	}
}

// With a store away the page says what follows, and with the proxy away that it is.
func TestPageWithStoresAway(t *testing.T) {
	pg := testenv.Postgres(t)
	e := newEnv(t, options{dsn: pg.DSN(), max: 6 << 20})
	b := newBrowser(t)
	e.fill(400, 8000)
	stop := e.keepBusy()
	p := b.open(e.url, desktop)
	p.wait("the page is there", `document.querySelector("#live").innerText === "live"`)
	p.shoot("fresh")
	must(t, pg.Kill())
	p.wait("the page tells", `document.querySelector("#findings").innerText.includes("Postgres is away: nothing can be evicted")`)
	p.wait("the card tells", `/Nothing can be evicted or restored/.test(document.querySelector("#postgres-card").innerText)`)
	p.wait("keys wait", `/keys? waits? to be saved/.test(document.querySelector("#findings").innerText)`)
	for name, l := range map[string]look{"away-light": desktop, "away-dark": desktop.dark(), "away-phone": phone} {
		p.look(l)
		p.shoot(name)
	}
	stop()
	b.complaints()
	p.eval(`fetch = () => Promise.reject(new TypeError("away"))`, nil)
	p.wait("the page says that nobody answers", `document.querySelector("#findings").innerText.includes("The proxy does not answer since")`)
	p.look(desktop)
	p.shoot("no-answer")
}

// keepBusy reads and writes sessions until the returned function is called, or the test ends.
func (e *env) keepBusy() (stop func()) {
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !over.Load(); i++ {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			e.client.Set(ctx, fmt.Sprintf("wa:bot-%04d:creds", i*7%400), strings.Repeat("y", 8000), 0)
			cancel()
		}
	}()
	stop = func() { over.Store(true); <-done }
	e.t.Cleanup(stop)
	return stop
}

// Nothing is wider than a phone, in either theme.
func TestPageFits(t *testing.T) {
	e := newEnv(t, options{})
	b := newBrowser(t)
	e.fill(30, 2000)
	must(t, e.client.Set(context.Background(), "wa:"+strings.Repeat("long-", 60)+":creds", "v", 0).Err())
	for _, l := range []look{phone, phone.dark(), desktop, desktop.dark(), {768, 1024, "light"}} {
		p := b.open(e.url, l)
		p.wait("the page is there", `document.querySelectorAll("#sessions tbody tr").length > 0`)
		var wide int
		p.eval("document.documentElement.scrollWidth", &wide)
		if wide > l.width {
			t.Errorf("%d wide at %+v", wide, l)
		}
		var back string
		p.eval("getComputedStyle(document.body).backgroundColor", &back)
		if dark := back == "rgb(14, 17, 22)"; dark != (l.theme == "dark") {
			t.Errorf("%s is the background at %+v", back, l)
		}
		p.eval(`document.querySelector("#theme").click()`, nil)
		var after string
		p.eval("getComputedStyle(document.body).backgroundColor", &after)
		if after == back {
			t.Errorf("the switch changes nothing at %+v", l)
		}
		p.eval(`localStorage.clear()`, nil)
		p.do("Page.close", nil)
	}
	if text := b.complaints(); text != "" {
		t.Errorf("the page complains: %s", text)
	}
}

// TestPicture takes pictures of a dashboard that runs elsewhere: SCREENSHOTS=folder DASHBOARD=http://127.0.0.1:9180 go test -run TestPicture
func TestPicture(t *testing.T) {
	url := os.Getenv("DASHBOARD")
	if url == "" {
		t.Skip("DASHBOARD names no dashboard")
	}
	b := newBrowser(t)
	for name, l := range map[string]look{"light": desktop, "dark": desktop.dark(), "phone": phone, "phone-dark": phone.dark(), "tablet": {820, 1180, "light"}} {
		p := b.open(url, l)
		p.wait("sessions are listed", `document.querySelectorAll("#sessions tbody tr").length > 0`)
		p.eval(`document.querySelector("#ranges button").click()`, nil)
		p.wait("a rate is known", `document.querySelectorAll(".tile .value")[2].innerText.match(/\d/)`)
		p.shoot(name)
		p.do("Page.close", nil)
	}
}

// The page shows which commands waited for a session, and for what.
func TestPageShowsTheSlowLog(t *testing.T) {
	e := newEnv(t, options{slow: time.Microsecond})
	b := newBrowser(t)
	p := b.open(e.url, desktop)
	p.wait("an empty log says so", `document.querySelector("#no-slow").innerText.startsWith("No command has waited")`)
	e.fill(3, 100)
	e.credproxy("SLOWLOG", "RESET")
	e.credproxy("EVICT", "bot-0001")
	must(t, e.client.Get(context.Background(), "wa:bot-0001:creds").Err())
	p.wait("the command is there", `document.querySelectorAll("#slow tbody tr").length === 1`)
	var text string
	p.eval(`document.querySelector("#slow tbody tr").innerText`, &text)
	if !strings.Contains(text, "bots/bot-0001") || !strings.Contains(text, "GET") || strings.Contains(text, "failed") {
		t.Errorf("the page shows %q", text)
	}
	var pieces int
	p.eval(`document.querySelectorAll("#slow .stack i").length`, &pieces)
	if pieces < 2 { // Postgres and Redis at least
		t.Errorf("%d parts", pieces)
	}
	if text := b.complaints(); text != "" {
		t.Errorf("the page complains: %s", text)
	}
}
