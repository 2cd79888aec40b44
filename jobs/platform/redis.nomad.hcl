# Redis: events between rooms. Its data is kept, but may be lost without losing a session.

variable "redis_data" {
  type        = string
  description = "Folder on the node that keeps Redis' data."
}

variable "address" {
  type        = string
  description = "Address of the node that Redis listens on: where the agents of all nodes reach it, by TLS."
  default     = "127.0.0.1"
}

job "redis" {
  type = "service"

  group "redis" {
    # Its data is on the server.
    constraint {
      attribute = "${meta.caravan_platform}"
      value     = "true"
    }

    network {
      port "redis" {}
    }

    ephemeral_disk {
      size = 50
    }

    service {
      name = "caravan-redis"
      port = "redis"

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

    task "redis" {
      driver = "raw_exec"

      config {
        command = "redis-server"
        args    = ["${NOMAD_SECRETS_DIR}/redis.conf"]
      }

      vault {
        role        = "redis"
        env         = false
        change_mode = "noop"
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/redis.conf"
        perms       = "0600"
        data        = <<-CONF
          bind ${var.address}
          port 0
          tls-port {{ env "NOMAD_PORT_redis" }}
          tls-cert-file {{ env "NOMAD_SECRETS_DIR" }}/redis.pem
          tls-key-file {{ env "NOMAD_SECRETS_DIR" }}/redis.pem
          tls-auth-clients no
          tls-protocols TLSv1.3
          dir ${var.redis_data}
          appendonly yes
          appendfsync everysec
          save ""
          {{ with secret "caravan/data/platform/redis" }}requirepass {{ .Data.data.password }}{{ end }}
        CONF
      }

      # Key and certificate in one file; a new one comes before the old one ends, and Redis starts again with it.
      template {
        destination = "${NOMAD_SECRETS_DIR}/redis.pem"
        perms       = "0600"
        data        = <<-PEM
          {{ with pkiCert "caravan-pki/issue/redis" "common_name=caravan-redis.service.consul" "ip_sans=${var.address}" }}{{ .Key }}{{ .Cert }}{{ end }}
        PEM
      }

      kill_timeout = "10s"

      resources {
        cpu    = 100
        memory = 64
      }

      logs {
        max_files     = 2
        max_file_size = 5
      }
    }
  }
}
