package testenv

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

func TestDatabasesAreFreshAndDropped(t *testing.T) {
	var first string
	t.Run("one", func(t *testing.T) {
		first = DSN(t)
		for _, dsn := range []string{first, DSN(t)} { // the second has no such table yet
			execSQL(t, dsn, "CREATE TABLE mine (n int)")
		}
	})
	if conn, err := pgx.Connect(context.Background(), first); err == nil {
		_ = conn.Close(context.Background())
		t.Error("the database outlived its test")
	}
}

func execSQL(t *testing.T, dsn, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}

func TestServersEndWithTheirTest(t *testing.T) {
	var redis, postgres <-chan struct{}
	t.Run("inner", func(t *testing.T) {
		redis = Redis(t, "--maxmemory", "64mb").Exited()
		first := Postgres(t)
		if err := first.Kill(); err != nil {
			t.Fatal(err)
		}
		postgres = RestartPostgres(t, first).Exited()
	})
	for name, exited := range map[string]<-chan struct{}{"redis": redis, "postgres": postgres} {
		select {
		case <-exited:
		default:
			t.Errorf("%s outlived its test", name)
		}
	}
}
