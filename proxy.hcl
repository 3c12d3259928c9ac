# The configuration of credproxy. Everything but one keyspace and restore.postgres has a default; what is written
# here, unless said otherwise, is that default. Check a change with: credproxy check --config proxy.hcl

listen           = "127.0.0.1:6380"   # where clients connect; also "unix:///run/credproxy.sock"
# listen_mode    = "0660"             # who may connect to the Unix socket
protected_mode   = true               # refuse other machines while neither a password nor a certificate is asked for
maxclients       = 10000              # lowered at start if the limit on open files is too low, with a warning
idle_timeout     = "0s"               # disconnect clients that have sent nothing for so long (no subscribers); "0s": never
auth_timeout     = "10s"              # how long a client that needs a password may take to give it; "0s": for ever
tcp_keepalive    = "300s"             # silence after which the kernel looks whether a client is still there; "0s": never
shutdown_timeout = "30s"              # to finish and to save everything at SIGTERM

# TLS for clients. Renewed files are used without a restart. client_ca: clients need a certificate of that authority.
# tls {
#   cert      = "/etc/credproxy/cert.pem"
#   key       = "/etc/credproxy/key.pem"
#   client_ca = "/etc/credproxy/clients.pem"
# }

# Who may use the proxy. Without this block Redis judges every AUTH; with it the proxy does, and clients are to Redis what
# the proxy is (upstream username). See SECURITY.md.
# auth {
#   password = env("CREDPROXY_PASSWORD")                        # AUTH password
#   user "ops" { password_file = "/run/secrets/credproxy_ops" } # AUTH ops password
# }

# The Redis behind the proxy. Set its maxmemory-policy to noeviction: anything else tears sessions apart.
upstream {
  address  = "127.0.0.1:6379"
  username = ""
  password = env("REDIS_PASSWORD")    # of the proxy's own connections; clients authenticate with theirs; or password_file
  # tls { ca = "/etc/credproxy/redis-ca.pem" }   # also cert, key, server_name, insecure; without ca the system's authorities
}

# Which keys belong to which session. {session} captures the session's id, * stands for any rest. Several keyspace
# blocks may stand side by side, as long as no key can belong to two of them. There is no default.
keyspace "baileys" {
  keys = ["wa:auth:{session}:creds", "wa:auth:{session}:keys"]
  # db             = 6                # only this logical database; without it, any
  # max            = "256MB"          # a budget of its own, for the estimated bytes of its sessions in Redis; without it, none
  # inactivity_ttl = "24h"            # these two instead of those in memory, for this keyspace
  # min_idle       = "1m"
}

memory {
  max            = "1GB"              # the budget; powers of 1024. Without it: Redis's own maxmemory, or 1GB
  threshold      = 80                 # percent of max at which eviction starts
  target         = 70                 # percent of max at which it stops
  check_interval = "5m"               # and sooner, when much has been written
  inactivity_ttl = "168h"             # idle this long, a session leaves Redis (never Postgres); "0s": never
  min_idle       = "0s"               # used less than this ago, a session is never evicted, even if Redis then refuses writes
  policy         = "lru"              # who goes first: lru, slru, s3fifo or gdsf (docs/policies.md)
}

restore {
  postgres      = env("DATABASE_URL") # for instance postgres://user:password@127.0.0.1:5432/credproxy
  sync          = "behind"            # behind: acknowledged when Redis has it; through: when Postgres has it;
                                      # off: the application keeps its own tables (docs/source.md)
  sync_interval = "200ms"             # longest a change waits to be saved
  wait          = "30s"               # longest a command waits for Postgres
  pooler        = false               # true: a PgBouncer in transaction mode stands in front of Postgres

  # Authenticates the payloads that go back to Redis with RESTORE (lists, sets, ...), so that who can write to Postgres cannot
  # attack Redis; or secret_file. At least 32 random bytes: openssl rand -base64 32. See SECURITY.md.
  # secret                 = env("CREDPROXY_SECRET")
  # previous_secrets       = [env("CREDPROXY_OLD_SECRET")]   # still taken; or previous_secret_files = ["/path"]
  # secret_accept_unsigned = true                            # while a secret is introduced, until `credproxy sign` has run

  # Credentials that already are in tables of yours: asked for a session that credproxy does not know. See docs/source.md.
  # source { query = "SELECT key, NULL, value FROM app_keys WHERE session_id = $1" }
}

flush = "deny"                        # FLUSHALL, FLUSHDB, SWAPDB: deny, or all (Postgres too)

# deny = [...]                        # commands refused to clients; `credproxy check` prints the default, [] allows all

admin {
  listen = "127.0.0.1:9180"           # HTTP: dashboard, /metrics, health; "" for none
  # token = env("CREDPROXY_TOKEN")    # lets the dashboard act, and be read from other machines; or token_file = "/path"
  # users = ["ops"]                   # who may run CREDPROXY commands that change something; without it, everyone
}

log {
  level  = "info"                     # trace, debug, info, warn, error, off
  format = "text"                     # text, json
  slow   = "100ms"                    # commands that wait this long for their session are in the slow log; "0s" for none
}
