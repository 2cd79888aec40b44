# Bootstrap: makes the first admin and registers the kernel image from a seed in Vault, which is deleted afterwards.
# Running it again with the same seed changes nothing.

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

variable "storage_client_url" {
  type        = string
  description = "Where clients reach the storage proxy `local`."
  default     = "http://127.0.0.1:6021"
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
    {{ end }}
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
    {{ end }}
    [storage.local]
    manager_url = "${var.storage_manager_url}"
    client_url = "${var.storage_client_url}"
    {{ with secret "caravan/data/platform/storage" -}}
    token = "{{ .Data.data.manager_token }}"
    {{ end }}
  TOML
}

job "caravan-bootstrap" {
  type = "batch"

  group "bootstrap" {
    ephemeral_disk {
      size = 50
    }

    restart {
      attempts = 3
      interval = "2m"
      delay    = "2s"
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "bootstrap" {
      driver = "raw_exec"

      config {
        command = "${var.programs}/caravan-manager"
        args = [
          "bootstrap", "--config", "${NOMAD_SECRETS_DIR}/config.toml", "--seed", "${NOMAD_SECRETS_DIR}/seed.toml",
        ]
      }

      consul {}

      vault {
        role        = "caravan-bootstrap"
        env         = false
        change_mode = "noop"
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/config.toml"
        perms       = "0600"
        data        = local.config
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/seed.toml"
        perms       = "0600"
        data        = "{{ with secret \"caravan/data/bootstrap\" }}{{ .Data.data.seed }}{{ end }}"
        change_mode = "noop"
      }

      resources {
        cpu    = 200
        memory = 256
      }

      logs {
        max_files     = 3
        max_file_size = 5
      }
    }
  }
}
