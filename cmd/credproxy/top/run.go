package top

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/gdamore/tcell/v3"

	"credproxy/internal/human"
)

// Proxy is a running proxy. Close makes calls that are under way return.
type Proxy interface {
	// Do sends CREDPROXY with arguments.
	Do(ctx context.Context, args ...string) (any, error)
	Close() error
}

// patience is how long an answer may take before the proxy counts as away.
const patience = 3 * time.Second

// Run shows the model on the screen until the user quits or ctx ends, and closes the proxy.
func Run(ctx context.Context, proxy Proxy, screen tcell.Screen, m *Model) error {
	if err := screen.Init(); err != nil {
		return fmt.Errorf("open terminal: %w", err)
	}
	defer screen.Fini()
	for from, to := range asciiFallbacks {
		screen.RegisterRuneFallback(from, to)
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &runner{proxy: proxy, screen: screen, theme: newTheme(screen.Colors()), events: make(chan any),
		polls: make(chan Query, 1), orders: make(chan Order, waiting)}
	var workers sync.WaitGroup
	interval, first := m.Interval, m.Query() // here: the model is the loop's alone
	workers.Go(func() { r.poll(ctx, interval, first) })
	workers.Go(func() { r.obey(ctx) })
	r.loop(ctx, m)
	cancel()
	err := proxy.Close()
	workers.Wait()
	return err
}

// runner connects a model with its terminal and its proxy.
type runner struct {
	proxy  Proxy
	screen tcell.Screen
	theme  theme
	events chan any   // of the workers, for the model
	polls  chan Query // asks the poller for another query, at once
	orders chan Order
}

// loop is the only one that touches the model.
func (r *runner) loop(ctx context.Context, m *Model) {
	clock := time.NewTicker(time.Second) // the ages on the screen go on while the proxy is away
	defer clock.Stop()
	w, h := r.screen.Size()
	m.Update(Resize{w, h})
	for {
		r.theme.draw(r.screen, m.View())
		asked := m.Query()
		effect := Effect{}
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		case e := <-r.events:
			effect = m.Update(e)
		case e := <-r.screen.EventQ():
			effect = r.input(m, e)
		}
		if effect.Quit {
			return
		}
		if effect.Order != nil {
			r.orders <- *effect.Order // the model keeps to what it has room for
		}
		if effect.Poll || m.Query() != asked {
			r.request(m.Query())
		}
		if effect.Suspend {
			r.suspend()
		}
	}
}

func (r *runner) input(m *Model, event tcell.Event) Effect {
	switch e := event.(type) {
	case *tcell.EventResize:
		// Not e.Size(): that may be what the terminal has reported, and tmux 3.3 reports columns for lines.
		w, h := r.screen.Size()
		r.screen.Sync()
		return m.Update(Resize{w, h})
	case *tcell.EventKey:
		if k, ok := translate(e); ok {
			return m.Update(k)
		}
	case nil:
		return Effect{Quit: true} // the terminal is gone
	}
	return Effect{}
}

var keyNames = map[tcell.Key]string{
	tcell.KeyUp: "up", tcell.KeyDown: "down", tcell.KeyPgUp: "pgup", tcell.KeyPgDn: "pgdn", tcell.KeyHome: "home", tcell.KeyEnd: "end",
	tcell.KeyEnter: "enter", tcell.KeyEscape: "esc", tcell.KeyBackspace: "backspace", tcell.KeyDEL: "backspace", tcell.KeyF1: "f1",
	tcell.KeyCtrlC: "ctrl-c", tcell.KeyCtrlZ: "ctrl-z", tcell.KeyCtrlU: "ctrl-u",
}

func translate(e *tcell.EventKey) (Key, bool) {
	if name, ok := keyNames[e.Key()]; ok {
		return Key{Name: name}, true
	}
	if e.Key() == tcell.KeyRune && e.Modifiers()&(tcell.ModCtrl|tcell.ModAlt) == 0 {
		return Key{Text: e.Str()}, true
	}
	return Key{}, false
}

// request replaces a request that the poller has not seen yet.
func (r *runner) request(q Query) {
	select {
	case <-r.polls:
	default:
	}
	r.polls <- q // has room: only this goroutine sends
}

// suspend is what Ctrl-Z does to programs that leave the terminal as it is.
func (r *runner) suspend() {
	if r.screen.Suspend() != nil {
		return
	}
	_ = syscall.Kill(0, syscall.SIGTSTP)
	_ = r.screen.Resume()
	r.screen.Sync()
}

// poll asks the proxy every interval, and at once when another query is wanted.
func (r *runner) poll(ctx context.Context, interval time.Duration, q Query) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		r.report(ctx, r.fetch(ctx, q))
		select {
		case <-ctx.Done():
			return
		case q = <-r.polls:
		case <-tick.C:
		}
	}
}

func (r *runner) fetch(ctx context.Context, q Query) Polled {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := Polled{Query: q}
	reply, err := r.proxy.Do(ctx, "STATS")
	p.At = time.Now()
	if err == nil {
		p.Stats, err = readPairs(reply)
	}
	if err == nil {
		reply, err = r.proxy.Do(ctx, q.args()...)
	}
	if err == nil {
		p.Sessions, err = readSessions(reply)
	}
	p.Err = err
	return p
}

// obey carries out one order after the other.
func (r *runner) obey(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-r.orders:
			reply, err := r.proxy.Do(ctx, o.args()...)
			d := Done{Order: o, Err: err}
			if o.Command == "SESSION" && err == nil {
				d.Lines, d.Err = describe(reply)
			}
			r.report(ctx, d)
		}
	}
}

func (r *runner) report(ctx context.Context, event any) {
	select {
	case <-ctx.Done():
	case r.events <- event:
	}
}

// describe makes the lines of a session's box.
func describe(reply any) ([]string, error) {
	flat, ok := reply.([]any)
	if !ok || len(flat)%2 != 0 {
		return nil, fmt.Errorf("read session: the proxy answered with %T", reply)
	}
	var lines []string
	for pair := range slices.Chunk(flat, 2) {
		name, value := human.Field(fmt.Sprint(pair[0]), pair[1])
		lines = append(lines, fmt.Sprintf("%-*s%s", indent, name, human.Printable(value)))
	}
	return lines, nil
}

// asciiFallbacks are for terminals whose locale has no more than that.
var asciiFallbacks = map[rune]string{
	'▁': "_", '▂': "_", '▃': ".", '▄': "-", '▅': "=", '▆': "+", '▇': "*", '█': "#",
	'▏': "|", '▎': "|", '▍': "|", '▌': "|", '▋': "|", '▊': "|", '▉': "#", '·': ".", '┊': ":", '┃': "!",
	'╭': "+", '╮': "+", '╰': "+", '╯': "+", '●': "*", '■': "#", '▪': "=", '▲': "^", '▼': "v", '…': "~",
}

// Terminal opens the terminal that the program runs on.
func Terminal() (tcell.Screen, error) {
	screen, err := tcell.NewScreen()
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	return screen, nil
}
