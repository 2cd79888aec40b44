# Manager: the API, the scheduler and the reconciler. Several may run; they share PostgreSQL and elect a leader in Consul.

variable "programs" {
  type        = string
  description = "Folder of Caravan's programs on the node."
}

variable "session_job" {
  type        = string
  description = "The skeleton of session jobs on the node, what `nomad job run -output jobs/session/session.nomad.hcl` prints."
}

variable "nomad_address" {
  type    = string
  default = "http://127.0.0.1:4646"
}

variable "consul_address" {
  type    = string
  default = "http://127.0.0.1:8500"
}

variable "vault_address" {
  type    = string
  default = "http://127.0.0.1:8200"
}

variable "host" {
  type        = string
  description = "Address of the node that the manager listens on."
  default     = "127.0.0.1"
}

variable "api_port" {
  type    = number
  default = 8091
}

variable "internal_port" {
  type        = number
  description = "Port of /metrics and /health."
  default     = 18080
}

variable "storage_manager_url" {
  type        = string
  description = "Where the manager reaches the storage proxy `local`."
  default     = "http://127.0.0.1:6022"
}

# Where the stores are comes from Consul, what opens them from Vault: nothing of it stands in the job.
locals {
  config = <<-TOML
    manager_version = "25.5.2"
    session_job = "${var.session_job}"

    [log]
    level = "info"
    format = "json"

    [api]
    host = "${var.host}"
    port = ${var.api_port}
    internal_host = "${var.host}"
    internal_port = ${var.internal_port}

    [database]
    {{ with service "caravan-postgres|any" }}{{ with index . 0 -}}
    host = "{{ .Address }}"
    port = {{ .Port }}
    {{ end }}{{ end -}}
    name = "caravan"
    user = "caravan"
    {{ with secret "caravan/data/platform/postgres" -}}
    password = "{{ .Data.data.password }}"
    {{ end }}
    [redis]
    {{ with service "caravan-redis|any" }}{{ with index . 0 -}}
    host = "{{ .Address }}"
    port = {{ .Port }}
    {{ end }}{{ end -}}
    {{ with secret "caravan/data/platform/redis" -}}
    password = "{{ .Data.data.password }}"
    {{ end -}}
    ca_file = "{{ env "NOMAD_SECRETS_DIR" }}/ca.pem"

    [nomad]
    address = "${var.nomad_address}"
    namespace = "caravan"

    [consul]
    address = "${var.consul_address}"

    [vault]
    address = "${var.vault_address}"
    token_file = "{{ env "NOMAD_SECRETS_DIR" }}/vault_token"
    transit_key = "caravan-keypairs"

    [agents]
    {{ with secret "caravan/data/platform/agent" -}}
    token = "{{ .Data.data.token }}"
    {{ end -}}
    ca_file = "{{ env "NOMAD_SECRETS_DIR" }}/ca.pem"

    [storage.local]
    manager_url = "${var.storage_manager_url}"
    {{ with secret "caravan/data/platform/storage" -}}
    token = "{{ .Data.data.manager_token }}"
    {{ end }}
  TOML
}

job "caravan-manager" {
  type = "service"

  group "manager" {
    # Its neighbours listen on the server's loopback.
    constraint {
      attribute = "${meta.caravan_platform}"
      value     = "true"
    }

    network {
      port "api" {
        static = var.api_port
      }

      port "internal" {
        static = var.internal_port
      }
    }

    ephemeral_disk {
      size = 100
    }

    service {
      name    = "caravan-manager"
      port    = "api"
      address = var.host
      tags    = ["api"]

      check {
        type     = "http"
        path     = "/health"
        interval = "2s"
        timeout  = "2s"
      }
    }

    service {
      name    = "caravan-manager"
      port    = "internal"
      address = var.host
      tags    = ["internal", "metrics"]

      check {
        type     = "http"
        path     = "/health"
        interval = "5s"
        timeout  = "2s"
      }
    }

    restart {
      attempts = 10
      interval = "5m"
      delay    = "2s"
      mode     = "delay"
    }

    task "migrate" {
      driver = "raw_exec"

      lifecycle {
        hook    = "prestart"
        sidecar = false
      }

      config {
        command = "${var.programs}/caravan-manager"
        args    = ["migrate", "--config", "${NOMAD_SECRETS_DIR}/config.toml"]
      }

      consul {}

      vault {
        role        = "caravan-manager"
        env         = false
        change_mode = "noop"
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/config.toml"
        perms       = "0600"
        data        = local.config
      }

      resources {
        cpu    = 200
        memory = 256
      }

      logs {
        max_files     = 3
        max_file_size = 10
      }
    }

    task "manager" {
      driver = "raw_exec"

      config {
        command = "${var.programs}/caravan-manager"
        args    = ["serve", "--config", "${NOMAD_SECRETS_DIR}/config.toml"]
      }

      # nomad alloc exec -task manager -job caravan-manager sh -c 'caravan-manager explain SESSION'
      env {
        CARAVAN_MANAGER_CONFIG = "${NOMAD_SECRETS_DIR}/config.toml"
        PATH                   = "${var.programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
      }

      # NOMAD_TOKEN: what policies/nomad/caravan-manager.hcl allows.
      identity {
        env  = true
        file = true
      }

      consul {}

      vault {
        role        = "caravan-manager"
        env         = false
        change_mode = "noop"
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/config.toml"
        perms       = "0600"
        data        = local.config
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/ca.pem"
        data        = "{{ with secret \"caravan-pki/cert/ca\" }}{{ .Data.certificate }}{{ end }}"
      }

      kill_timeout = "10s"

      resources {
        cpu    = 400
        memory = 512
      }

      logs {
        max_files     = 3
        max_file_size = 10
      }
    }
  }
}
