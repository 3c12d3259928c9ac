package restore

import (
	"fmt"
	"testing"
	"time"

	"credproxy/internal/session"
)

// A session of 200 lists with and without signatures. Both take turns, so that a busy machine is as busy for both; "ratio" is the
// median time with signatures by that without.
func BenchmarkSigning(b *testing.B) {
	const keys, size = 200, 500
	lists := func(round int) []session.Change {
		c := session.Change{Session: bot("+5511"), Heat: session.Heat{LastAccess: now}}
		for i := range keys {
			c.Keys = append(c.Keys, put(list(fmt.Sprintf("baileys:session:+5511:%d", i), fmt.Sprintf("%0*d", size, round*1000+i))))
		}
		return []session.Change{c}
	}
	for _, what := range []string{"save", "load"} {
		b.Run(what, func(b *testing.B) {
			stores := []*Store{openStore(b, Config{}), openStore(b, Config{Signing: Signing{Secret: secretA}})}
			ctx := testContext(b)
			do := func(s *Store, round int) {
				if what == "load" && round > 0 {
					if got := mustLoad(b, s, bot("+5511")); len(got.Keys) != keys {
						b.Fatalf("%d keys", len(got.Keys))
					}
					return
				}
				if refused, err := s.Save(ctx, lists(round), now); err != nil || refused != nil {
					b.Fatal(refused, err)
				}
			}
			var times [2][]time.Duration
			for round := 0; b.Loop(); round++ {
				for i, s := range stores {
					times[i] = append(times[i], timed(func(s *Store) { do(s, round) }, s))
				}
			}
			plain, signed := median(times[0]), median(times[1])
			b.ReportMetric(float64(plain.Microseconds()), "us-plain")
			b.ReportMetric(float64(signed.Microseconds()), "us-signed")
			b.ReportMetric(float64(signed)/float64(plain), "ratio")
			b.ReportMetric(0, "ns/op") // both together
		})
	}
}

// What a signature costs by itself.
func BenchmarkSignature(b *testing.B) {
	s := mustSigner(b, Signing{Secret: secretA})
	at := payloadPlace{bot("+5511"), "baileys:session:+5511:17", session.List, 0, false}
	for _, size := range []int{500, 64 << 10} {
		payload := make([]byte, size)
		form, value := s.stored(at, payload)
		b.Run(fmt.Sprintf("sign%d", size), func(b *testing.B) {
			for b.Loop() {
				s.stored(at, payload)
			}
		})
		b.Run(fmt.Sprintf("verify%d", size), func(b *testing.B) {
			for b.Loop() {
				if _, why := s.open(at, form, value); why != "" {
					b.Fatal(why)
				}
			}
		})
	}
}
