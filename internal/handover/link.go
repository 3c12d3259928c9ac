package handover

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Link is one end. Send and Receive may each be used by one goroutine at a time.
type Link struct{ c *net.UnixConn }

// Message is what Receive returns.
type Message struct {
	Blob  []byte
	Files []*os.File // open sockets; the receiver closes them
	text  []byte
}

const (
	headSize   = 12      // of a frame: the length of its text, 4 bytes, and of its blob, 8 bytes
	maxText    = 1 << 20 // bytes
	maxBlob    = 1 << 31 // bytes: more than a client can have sent without completing a command
	maxSockets = 4       // with one message
)

// envFD names the descriptor of the successor's end.
const envFD = "CREDPROXY_HANDOVER_FD"

// childFD is where exec.Cmd puts the first of its ExtraFiles.
const childFD = 3

// Pair makes a link. other is for the ExtraFiles of a child, whose environment needs Env.
func Pair() (own *Link, other *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	other = os.NewFile(uintptr(fds[1]), "handover")
	if own, err = open(fds[0]); err != nil {
		other.Close()
		return nil, nil, err
	}
	return own, other, nil
}

// Env is what tells a child that the first of its ExtraFiles is a link.
func Env() string { return envFD + "=" + strconv.Itoa(childFD) }

// Inherited returns the link to the process that has started this one as its successor, nil if none has.
func Inherited() (*Link, error) {
	text, ok := os.LookupEnv(envFD)
	if !ok {
		return nil, nil
	}
	os.Unsetenv(envFD) // it is this process's alone
	fd, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", envFD, err)
	}
	syscall.CloseOnExec(fd)
	return open(fd)
}

func open(fd int) (*Link, error) {
	f := os.NewFile(uintptr(fd), "handover")
	defer f.Close() // FileConn has one of its own
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open the link to the other process: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("open the link to the other process: it is no Unix socket")
	}
	return &Link{u}, nil
}

// Close closes this end; the other end's Receive returns io.EOF.
func (l *Link) Close() error { return l.c.Close() }

// Until sets when a Send or Receive that waits gives up.
func (l *Link) Until(t time.Time) error { return l.c.SetDeadline(t) }

// Send sends a message, as JSON, with bytes and descriptors; the other end gets duplicates of these.
func (l *Link) Send(message any, blob []byte, fds ...int) error {
	text, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	head := make([]byte, headSize, headSize+len(text))
	binary.BigEndian.PutUint32(head, uint32(len(text)))
	binary.BigEndian.PutUint64(head[4:], uint64(len(blob)))
	// The descriptors travel with the first bytes.
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	n, _, err := l.c.WriteMsgUnix(head, rights, nil)
	if err == nil {
		_, err = l.c.Write(append(head[n:], text...))
	}
	if err == nil && len(blob) > 0 {
		_, err = l.c.Write(blob)
	}
	if err != nil {
		return fmt.Errorf("send to the other process: %w", err)
	}
	return nil
}

// Receive waits for the next message. io.EOF: the other end is closed.
func (l *Link) Receive() (*Message, error) {
	m := &Message{}
	if err := l.receive(m); err != nil {
		m.closeFiles()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("receive from the other process: %w", err)
	}
	return m, nil
}

func (l *Link) receive(m *Message) error {
	head := make([]byte, headSize)
	room := make([]byte, syscall.CmsgSpace(maxSockets*4))
	n, got, _, _, err := l.c.ReadMsgUnix(head, room)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return err
	}
	if m.Files, err = parseFiles(room[:got]); err != nil {
		return err
	}
	if _, err := io.ReadFull(l.c, head[n:]); err != nil {
		return err
	}
	text, blob := binary.BigEndian.Uint32(head), binary.BigEndian.Uint64(head[4:])
	if text > maxText || blob > maxBlob {
		return fmt.Errorf("a message of %d and %d bytes is too long", text, blob)
	}
	m.text, m.Blob = make([]byte, text), make([]byte, blob)
	if _, err := io.ReadFull(l.c, m.text); err != nil {
		return err
	}
	_, err = io.ReadFull(l.c, m.Blob)
	return err
}

func parseFiles(control []byte) ([]*os.File, error) {
	if len(control) == 0 {
		return nil, nil
	}
	parts, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("read descriptors: %w", err)
	}
	var files []*os.File
	for i := range parts {
		fds, err := syscall.ParseUnixRights(&parts[i])
		if err != nil {
			return files, fmt.Errorf("read descriptors: %w", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "inherited socket"))
		}
	}
	return files, nil
}

func (m *Message) closeFiles() {
	for _, f := range m.Files {
		f.Close()
	}
}

// Decode reads the message into the value that v points to.
func (m *Message) Decode(v any) error {
	if err := json.Unmarshal(m.text, v); err != nil {
		return fmt.Errorf("decode message: %w", err)
	}
	return nil
}

// SocketPair makes two sockets that are connected with each other.
func SocketPair() (a, b *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}
