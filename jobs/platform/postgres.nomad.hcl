# PostgreSQL: the truth of sessions and people. It refuses to be root, so it runs as the system's user postgres; a mount
# namespace of the task's own shows it its data under /var/lib/postgresql, whoever may enter the folders above the data.

variable "postgres_programs" {
  type        = string
  description = "Folder of PostgreSQL's server programs."
  default     = "/usr/lib/postgresql/15/bin"
}

variable "postgres_data" {
  type        = string
  description = "Folder on the node that keeps the database."
}

variable "host" {
  type    = string
  default = "127.0.0.1"
}

job "postgres" {
  type = "service"

  group "postgres" {
    # Its data is on the server.
    constraint {
      attribute = "${meta.caravan_platform}"
      value     = "true"
    }

    network {
      port "postgres" {}
    }

    ephemeral_disk {
      size = 50
    }

    service {
      name    = "caravan-postgres"
      port    = "postgres"
      address = var.host

      check {
        type     = "tcp"
        interval = "2s"
        timeout  = "2s"
      }
    }

    restart {
      attempts = 10
      interval = "5m"
      delay    = "2s"
      mode     = "delay"
    }

    # Makes the database cluster the first time, and the application's database; later runs change nothing.
    task "init" {
      driver = "raw_exec"

      lifecycle {
        hook    = "prestart"
        sidecar = false
      }

      config {
        command = "unshare"
        args    = ["--mount", "sh", "${NOMAD_TASK_DIR}/init.sh"]
      }

      vault {
        role        = "postgres"
        env         = false
        change_mode = "noop"
      }

      template {
        destination = "${NOMAD_TASK_DIR}/init.sh"
        data        = <<-SCRIPT
          set -eu
          umask 077
          chown postgres: '${var.postgres_data}'
          mount --bind '${var.postgres_data}' /var/lib/postgresql
          cd /var/lib/postgresql
          [ -s caravan/PG_VERSION ] && exit 0
          rm -rf caravan.new
          as_postgres="setpriv --reuid=postgres --regid=postgres --init-groups --"
          install -o postgres -m 600 "$NOMAD_SECRETS_DIR/password" /var/lib/postgresql/.password
          trap 'rm -f /var/lib/postgresql/.password' EXIT
          $as_postgres '${var.postgres_programs}/initdb' --pgdata=caravan.new --username=caravan --auth=scram-sha-256 \
            --pwfile=/var/lib/postgresql/.password --encoding=UTF8 --locale=C.UTF-8 >&2
          echo 'CREATE DATABASE caravan;' | $as_postgres '${var.postgres_programs}/postgres' --single -D caravan.new postgres >&2
          mv caravan.new caravan
        SCRIPT
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/password"
        perms       = "0600"
        data        = "{{ with secret \"caravan/data/platform/postgres\" }}{{ .Data.data.password }}{{ end }}"
      }

      resources {
        cpu    = 100
        memory = 128
      }

      logs {
        max_files     = 2
        max_file_size = 5
      }
    }

    task "postgres" {
      driver = "raw_exec"

      config {
        command = "unshare"
        args    = ["--mount", "sh", "${NOMAD_TASK_DIR}/run.sh"]
      }

      template {
        destination = "${NOMAD_TASK_DIR}/run.sh"
        data        = <<-SCRIPT
          set -eu
          mount --bind '${var.postgres_data}' /var/lib/postgresql
          cd /var/lib/postgresql
          exec setpriv --reuid=postgres --regid=postgres --init-groups -- \
            '${var.postgres_programs}/postgres' -D /var/lib/postgresql/caravan \
            -c listen_addresses='${var.host}' -c port="$NOMAD_PORT_postgres" -c unix_socket_directories= \
            -c max_connections=200 -c password_encryption=scram-sha-256
        SCRIPT
      }

      # SIGINT is PostgreSQL's fast shutdown.
      kill_signal  = "SIGINT"
      kill_timeout = "20s"

      resources {
        cpu    = 300
        memory = 512
      }

      logs {
        max_files     = 3
        max_file_size = 10
      }
    }
  }
}
