# For deploy/compose/compose.yaml. Settings that are not here have their defaults: docs/configuration.md.
listen = "0.0.0.0:6380"

# Clients in other containers are other machines, so they need a password: redis://:PASSWORD@credproxy:6380
auth {
  password_file = "/run/secrets/clients_password"
}

# Only the proxy and Postgres are in Redis's network.
upstream {
  address = "redis:6379"
}

# Which keys form a session: docs/quick-start.md has the block for each store.
keyspace "wa" {
  keys = ["wa:auth:{session}:creds", "wa:auth:{session}:keys"]
}

memory {
  max = "1GB"
}

restore {
  postgres = env("DATABASE_URL")
}

# Published on this machine's loopback address only. A request that comes in from there is one of another machine to the
# container, so the dashboard asks for the token.
admin {
  listen     = "0.0.0.0:9180"
  token_file = "/run/secrets/admin_token"
}

log {
  format = "json"
}
