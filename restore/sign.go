package restore

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"credproxy/internal/session"
)

// Signatures
//
// Redis takes the payload of RESTORE apart as it takes its own files apart: one that was made for the purpose may crash it, or
// worse. Somebody who may write to the tables, and not to Redis, could wait for a session to be restored. With a secret, which is
// neither in Postgres nor in Redis, every payload is stored behind a signature (formSigned), and none without a valid one is
// given to Redis:
//
//	version (1 byte) | which secret (4 bytes) | HMAC-SHA256 (32 bytes) | payload
//
//  1. The HMAC covers all that says where the payload belongs: database, keyspace, session, key, type, expiry. Each is as
//     the caller asked for it where the caller knows, so that a row is good in its own place only.
//  2. It covers the payload by its SHA-256, which Postgres can compute: payloads need not travel to be signed anew (resign.go).
//  3. An older row, put back where it was, has a valid signature. Nothing outside Postgres knows which one is the newest.
//  4. Strings and hashes in the clear have none: they reach Redis as arguments of SET and HSET, which take any bytes.

// Signing says how payloads of DUMP are authenticated. The zero value: not at all.
type Signing struct {
	Secret         string   // signs; "": payloads are stored and taken as they are
	Previous       []string // secrets from before, whose signatures are still taken
	AcceptUnsigned bool     // payloads that were stored before there was a secret are taken
}

const (
	signatureVersion = 1
	secretIDLen      = 4
	signatureHead    = 1 + secretIDLen // what names the secret
	signatureLen     = signatureHead + sha256.Size
)

// Why a stored payload is not given to Redis. Operators read this.
const (
	whyForm     = "the form in which Postgres holds it is unknown to this version"
	whyForged   = "the signature of its payload is not valid: the row was changed, or moved from another place, by somebody else than credproxy"
	whySecret   = "its payload was signed with another secret: name that in restore.previous_secrets"
	whyUnsigned = "its payload is not signed: if the tables can be trusted as they are, run `credproxy sign`, or set restore.secret_accept_unsigned"
	whyNoSecret = "its payload is signed: set restore.secret to the secret with which it was"
)

// signer makes and checks signatures. A nil one has no secret.
type signer struct {
	keys     []signingKey // the first one signs
	unsigned bool         // payloads without a signature are taken
}

type signingKey struct {
	id   [secretIDLen]byte // in the clear beside each signature; it tells a forgotten secret from a forged row
	macs *sync.Pool        // of *mac with this key: one that is used again has its key hashed already
}

// mac computes one HMAC at a time.
type mac struct {
	hasher interface {
		io.Writer
		Reset()
		Sum([]byte) []byte
	}
	text []byte
}

// newSigner derives the keys, so that a secret that serves elsewhere as well gives nothing away there.
func newSigner(cfg Signing) (*signer, error) {
	if cfg.Secret == "" {
		if len(cfg.Previous) > 0 || cfg.AcceptUnsigned {
			return nil, errors.New("sign payloads: there is no secret: set restore.secret")
		}
		return nil, nil
	}
	s := &signer{unsigned: cfg.AcceptUnsigned}
	for _, secret := range append([]string{cfg.Secret}, cfg.Previous...) {
		key, err := newSigningKey([]byte(secret))
		if err != nil {
			return nil, fmt.Errorf("derive the key of restore.secret: %w", err)
		}
		s.keys = append(s.keys, key)
	}
	return s, nil
}

func newSigningKey(secret []byte) (k signingKey, err error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "credproxy payload signature", sha256.Size)
	if err != nil {
		return k, err
	}
	k.macs = &sync.Pool{New: func() any { return &mac{hasher: hmac.New(sha256.New, key)} }}
	id, err := hkdf.Key(sha256.New, secret, nil, "credproxy secret id", secretIDLen)
	copy(k.id[:], id)
	return k, err
}

// payloadPlace is where a payload belongs.
type payloadPlace struct {
	id       session.ID
	key      string
	kind     session.Type
	expireAt int64
	parts    bool // it is stored in parts, and its digest is of their digests
}

// sum is the HMAC. Names have their lengths in front, so that no two places look the same.
func (k *signingKey) sum(at payloadPlace, digest [sha256.Size]byte) []byte {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	version := byte(signatureVersion)
	if at.parts { // no payload may pass for the digests of another's parts
		version |= 0x80
	}
	b := append(m.text[:0], version, byte(at.kind))
	b = binary.BigEndian.AppendUint64(b, uint64(at.id.DB))
	b = binary.BigEndian.AppendUint64(b, uint64(at.expireAt))
	for _, name := range [...]string{at.id.Keyspace, at.id.Name, at.key} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(name)))
		b = append(b, name...)
	}
	m.text = append(b, digest[:]...)
	m.hasher.Reset()
	m.hasher.Write(m.text) // never fails
	return m.hasher.Sum(make([]byte, 0, sha256.Size))
}

// head is how everything begins that is signed with the current secret.
func (s *signer) head() []byte {
	return append([]byte{signatureVersion}, s.keys[0].id[:]...)
}

// sign returns what stands in front of a payload with that digest.
func (s *signer) sign(at payloadPlace, digest [sha256.Size]byte) []byte {
	return append(s.head(), s.keys[0].sum(at, digest)...)
}

// stored returns in which form a payload is stored, and as what.
func (s *signer) stored(at payloadPlace, payload []byte) (form int16, value []byte) {
	if s == nil {
		return formDump, payload
	}
	value = append(make([]byte, 0, signatureLen+len(payload)), s.sign(at, sha256.Sum256(payload))...)
	return formSigned, append(value, payload...)
}

// open returns the payload of a stored value, a part of it, or why it must not be used.
func (s *signer) open(at payloadPlace, form int16, value []byte) (payload []byte, why string) {
	switch {
	case form == formDump && s != nil && !s.unsigned:
		return nil, whyUnsigned
	case form == formDump:
		return value, ""
	case form != formSigned || len(value) < signatureLen:
		return nil, whyForm
	}
	payload = value[signatureLen:]
	if s == nil {
		return nil, whyNoSecret
	}
	if why := s.verify(at, value[:signatureLen], sha256.Sum256(payload)); why != "" {
		return nil, why
	}
	return payload, ""
}

// verify says what is wrong with a signature, "" if nothing is.
func (s *signer) verify(at payloadPlace, signature []byte, digest [sha256.Size]byte) string {
	if len(signature) != signatureLen || signature[0] != signatureVersion {
		return whyForm
	}
	known := false
	for i := range s.keys {
		k := &s.keys[i]
		if string(k.id[:]) != string(signature[1:signatureHead]) {
			continue
		}
		if known = true; hmac.Equal(k.sum(at, digest), signature[signatureHead:]) {
			return ""
		}
	}
	if !known {
		return whySecret
	}
	return whyForged
}
