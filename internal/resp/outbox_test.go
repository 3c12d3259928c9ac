package resp

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// numbered are n bytes in which every place can be told from its neighbours.
func numbered(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16) ^ byte(i>>8) ^ byte(i)
	}
	return b
}

// TestUnreadRepliesAreKept: Write does not wait for a client that does not read, up to the bound, and nothing is lost or turned
// around, whatever the sizes.
func TestUnreadRepliesAreKept(t *testing.T) {
	c, client := pair(t)
	all := numbered(maxUnsent)
	for rest, n := all, 1; len(rest) > 0; n = n*3%100_003 + 1 {
		k := min(n, len(rest))
		if m, err := c.Write(rest[:k]); m != k || err != nil {
			t.Fatalf("Write: %d, %v", m, err)
		}
		rest = rest[k:]
	}
	if kept := unsentAll.Load(); kept == 0 {
		t.Fatal("the kernel has taken everything: nothing was tried")
	}
	got := make([]byte, len(all))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, all) {
		t.Fatalf("the client's bytes differ (%v)", err)
	}
	c.Flush()
	if kept := unsentAll.Load(); kept != 0 {
		t.Errorf("%d bytes count as kept when all are sent", kept)
	}
}

// TestTooMuchUnreadWaits: beyond the bound Write waits for the client, and goes on in order.
func TestTooMuchUnreadWaits(t *testing.T) {
	c, client := pair(t)
	all := numbered(3 * maxUnsent)
	done := make(chan error, 1)
	go func() {
		for rest := all; len(rest) > 0; {
			k := min(1<<20+7, len(rest))
			if _, err := c.Write(rest[:k]); err != nil {
				done <- err
				return
			}
			rest = rest[k:]
		}
		done <- nil
	}()
	eventually(t, "the bound is reached", func() bool { return unsentAll.Load() > maxUnsent-2<<20 })
	select {
	case err := <-done:
		t.Fatalf("Write has not waited: %v", err)
	default:
	}
	got := make([]byte, len(all))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, all) {
		t.Fatalf("the client's bytes differ (%v)", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestCloseForgetsUnread: what is kept goes with the connection, whoever closes it, and so does the goroutine.
func TestCloseForgetsUnread(t *testing.T) {
	for name, end := range map[string]func(*Conn, *net.TCPConn){
		"server": func(c *Conn, _ *net.TCPConn) { c.Close() },
		"client": func(c *Conn, client *net.TCPConn) { client.Close(); c.Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			c, client := pair(t)
			if _, err := c.Write(make([]byte, maxUnsent)); err != nil {
				t.Fatal(err)
			}
			end(c, client)
			if kept := unsentAll.Load(); kept != 0 {
				t.Errorf("%d bytes are still kept", kept)
			}
			eventually(t, "Write fails", func() bool { _, err := c.Write([]byte("x")); return err != nil })
		})
	}
}

// TestEndOfStreamWaitsForReplies: a client that has closed its side gets what is kept before redcon hears of the end.
func TestEndOfStreamWaitsForReplies(t *testing.T) {
	c, client := pair(t)
	all := numbered(maxUnsent)
	if _, err := c.Write(all); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 100))
		ended <- err
		c.Close()
	}()
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, all) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := <-ended; err != io.EOF {
		t.Fatalf("Read: %v", err)
	}
}

// TestTLSWritesBeforeItReads: with TLS, too, a client may write a million commands before it reads the first reply.
func TestTLSWritesBeforeItReads(t *testing.T) {
	const commands = 1_000_000
	l := listen(t, "tcp", "127.0.0.1:0", ListenerConfig{TLS: tlsConfig(t)})
	conns := accepted(l)
	answered := make(chan error, 1)
	go func() {
		c := <-conns
		c.SetAuthenticated(true)
		defer c.Close()
		for got, p := 0, make([]byte, 4096); got < commands*14; {
			n, err := c.Read(p)
			if err == nil {
				_, err = c.Write(p[:n]) // as much as it asks
			}
			if err != nil {
				answered <- err
				return
			}
			got += n
		}
		c.Flush()
		answered <- nil
	}()
	client := dialTLS(t, l)
	all := bytes.Repeat([]byte(bulks("PING")), commands)
	if _, err := client.Write(all); err != nil { // it has a deadline
		t.Fatalf("the client cannot write before it reads: %v", err)
	}
	got := make([]byte, len(all))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, all) {
		t.Fatalf("replies differ (%v)", err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

// TestWhoDoesNotReadGetsLittleDone: as long as replies are kept a Read hands over few commands, and who waits because of them waits no
// longer than until they are taken.
func TestWhoDoesNotReadGetsLittleDone(t *testing.T) {
	c, client := pair(t)
	c.SetAuthenticated(true)
	commands := bytes.Repeat([]byte(bulks("PING")), 200)
	p := make([]byte, 4096)
	if _, err := client.Write(commands); err != nil {
		t.Fatal(err)
	}
	replies := 0
	for eased, _ := c.unsent.easing(); eased == nil; eased, _ = c.unsent.easing() {
		n, err := c.Write(make([]byte, 100_000))
		if err != nil {
			t.Fatal(err)
		}
		replies += n
	}
	n, err := c.Read(p)
	if err != nil || n == 0 || n > unreadBatch {
		t.Fatalf("Read: %d bytes, %v; want %d at most", n, err, unreadBatch)
	}
	eased, _ := c.unsent.easing()
	if eased == nil {
		t.Fatal("it does not have to wait")
	}
	if _, err := io.ReadFull(client, make([]byte, replies)); err != nil {
		t.Fatal(err)
	}
	<-eased
	c.Flush()
	if n, err = c.Read(p); err != nil || n <= unreadBatch {
		t.Fatalf("Read of a client that has taken its replies: %d bytes, %v", n, err)
	}
}
