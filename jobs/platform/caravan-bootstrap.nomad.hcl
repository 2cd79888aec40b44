# Bootstrap: makes the first admin and registers the kernel image from a seed in Vault, which is deleted afterwards.
# Running it again with the same seed changes nothing.

variable "programs" {
  type        = string
  description = "Folder of Caravan's programs on the node."
}

variable "vault_address" {
  type    = string
  default = "http://127.0.0.1:8200"
}

# Where PostgreSQL is comes from Consul, what opens it from Vault: nothing of it stands in the job.
locals {
  config = <<-TOML
    [log]
    level = "info"
    format = "json"

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
    [vault]
    address = "${var.vault_address}"
    token_file = "{{ env "NOMAD_SECRETS_DIR" }}/vault_token"
    transit_key = "caravan-keypairs"
  TOML
}

job "caravan-bootstrap" {
  type = "batch"

  group "bootstrap" {
    # PostgreSQL and Vault listen on the server's loopback.
    constraint {
      attribute = "${meta.caravan_platform}"
      value     = "true"
    }

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
