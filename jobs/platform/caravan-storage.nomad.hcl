# Storage proxy `local`: one volume of files, for clients with signed tokens and for the manager.

variable "programs" {
  type        = string
  description = "Folder of Caravan's programs on the node."
}

variable "host" {
  type        = string
  description = "Address of the node that the proxy listens on."
  default     = "127.0.0.1"
}

variable "storage_client_port" {
  type    = number
  default = 6021
}

variable "storage_manager_port" {
  type    = number
  default = 6022
}

variable "storage_metrics_port" {
  type    = number
  default = 16023
}

variable "storage_client_url" {
  type        = string
  description = "Where clients reach the proxy."
  default     = "http://127.0.0.1:6021"
}

variable "volume1" {
  type        = string
  description = "Folder on the node that holds the volume `volume1`."
}

locals {
  config = <<-TOML
    name = "local"
    {{ with secret "caravan/data/platform/storage-signing" -}}
    secret = "{{ .Data.data.signing_key }}"
    {{ end }}
    [log]
    level = "info"
    format = "json"

    [client_api]
    host = "${var.host}"
    port = ${var.storage_client_port}
    public_url = "${var.storage_client_url}"

    [manager_api]
    host = "${var.host}"
    port = ${var.storage_manager_port}
    {{ with secret "caravan/data/platform/storage" -}}
    token = "{{ .Data.data.manager_token }}"
    {{ end }}
    [metrics]
    host = "${var.host}"
    port = ${var.storage_metrics_port}

    [volumes.volume1]
    backend = "vfs"
    path = "${var.volume1}"
  TOML
}

job "caravan-storage" {
  type = "service"

  group "storage" {
    # Its volume is on the server.
    constraint {
      attribute = "${meta.caravan_platform}"
      value     = "true"
    }

    network {
      port "client" {
        static = var.storage_client_port
      }

      port "manager" {
        static = var.storage_manager_port
      }

      port "metrics" {
        static = var.storage_metrics_port
      }
    }

    ephemeral_disk {
      size = 100
    }

    service {
      name    = "caravan-storage"
      port    = "client"
      address = var.host
      tags    = ["client"]

      check {
        type     = "tcp"
        interval = "2s"
        timeout  = "2s"
      }
    }

    service {
      name    = "caravan-storage"
      port    = "manager"
      address = var.host
      tags    = ["manager"]

      check {
        type     = "tcp"
        interval = "2s"
        timeout  = "2s"
      }
    }

    service {
      name    = "caravan-storage"
      port    = "metrics"
      address = var.host
      tags    = ["metrics"]

      check {
        type     = "tcp"
        interval = "10s"
        timeout  = "2s"
      }
    }

    restart {
      attempts = 10
      interval = "5m"
      delay    = "2s"
      mode     = "delay"
    }

    task "storage" {
      driver = "raw_exec"

      config {
        command = "${var.programs}/caravan-storage"
        args    = ["serve", "--config", "${NOMAD_SECRETS_DIR}/config.toml"]
      }

      vault {
        role        = "caravan-storage"
        env         = false
        change_mode = "noop"
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/config.toml"
        perms       = "0600"
        data        = local.config
      }

      kill_timeout = "10s"

      resources {
        cpu    = 200
        memory = 256
      }

      logs {
        max_files     = 3
        max_file_size = 10
      }
    }
  }
}
