# Agent: one on every node. Prepares kernels for session jobs, cleans up after them, and says what happens on its node.

variable "programs" {
  type        = string
  description = "Folder of Caravan's programs on each node."
}

variable "host" {
  type        = string
  description = "Address that the agent listens on."
  default     = "127.0.0.1"
}

variable "agent_port" {
  type    = number
  default = 6011
}

variable "agent_metrics_port" {
  type    = number
  default = 6003
}

variable "agent_socket" {
  type        = string
  description = "Socket of the hooks of session jobs; the same as the node's meta.caravan_socket."
}

variable "agent_state" {
  type        = string
  description = "Folder of scratches and the kernels' runtime; the parent of the node's meta.caravan_scratch."
}

variable "network_pool" {
  type        = string
  description = "Where sessions' networks get their addresses."
  default     = "10.128.0.0/12"
}

variable "cluster" {
  type        = string
  description = "Name of this Caravan, a label on all that the agent makes in Docker."
  default     = "caravan"
}

variable "volume1" {
  type        = string
  description = "Where the volume `volume1` is on each node."
}

variable "slots_cpu" {
  type        = string
  description = "Advertised cpu slots; Nomad's totals of the node must agree."
}

variable "slots_mem" {
  type        = string
  description = "Advertised memory in bytes."
}

locals {
  config = <<-TOML
    node_name = "{{ env "node.unique.name" }}"
    node_id = "{{ env "node.unique.id" }}"
    region = "{{ env "NOMAD_REGION" }}"
    scaling_group = "default"
    advertise_url = "https://{{ env "NOMAD_ADDR_api" }}"
    cluster = "${var.cluster}"
    socket = "${var.agent_socket}"
    state_dir = "${var.agent_state}"
    network_pool = "${var.network_pool}"

    [log]
    level = "info"
    format = "json"

    [api]
    host = "${var.host}"
    port = ${var.agent_port}
    {{ with secret "caravan/data/platform/agent" -}}
    token = "{{ .Data.data.token }}"
    {{ end -}}
    cert_file = "{{ env "NOMAD_SECRETS_DIR" }}/agent.pem"

    [metrics]
    host = "${var.host}"
    port = ${var.agent_metrics_port}

    [slots]
    cpu = "${var.slots_cpu}"
    mem = "${var.slots_mem}"

    [redis]
    {{ with service "caravan-redis|any" }}{{ with index . 0 -}}
    host = "{{ .Address }}"
    port = {{ .Port }}
    {{ end }}{{ end -}}
    {{ with secret "caravan/data/platform/redis" -}}
    password = "{{ .Data.data.password }}"
    {{ end -}}
    ca_file = "{{ env "NOMAD_SECRETS_DIR" }}/ca.pem"

    [volumes.volume1]
    path = "${var.volume1}"
  TOML
}

job "caravan-agent" {
  type = "system"

  group "agent" {
    network {
      port "api" {
        static = var.agent_port
      }

      port "metrics" {
        static = var.agent_metrics_port
      }
    }

    ephemeral_disk {
      size = 100
    }

    service {
      name = "caravan-agent"
      port = "api"

      check {
        # Only its own node's Consul asks, and hands over nothing: it need not know the CA.
        type            = "http"
        protocol        = "https"
        tls_skip_verify = true
        path            = "/health"
        interval        = "2s"
        timeout         = "2s"
      }
    }

    restart {
      attempts = 10
      interval = "5m"
      delay    = "2s"
      mode     = "delay"
    }

    task "agent" {
      driver = "raw_exec"

      config {
        command = "${var.programs}/caravan-agent"
        args    = ["serve", "--config", "${NOMAD_SECRETS_DIR}/config.toml"]
      }

      consul {}

      vault {
        role        = "caravan-agent"
        env         = false
        change_mode = "noop"
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/config.toml"
        perms       = "0600"
        data        = local.config
      }

      # Key and certificate in one file; a new one comes before the old one ends, and the agent starts again with it.
      template {
        destination = "${NOMAD_SECRETS_DIR}/agent.pem"
        perms       = "0600"
        data        = <<-PEM
          {{ with pkiCert "caravan-pki/issue/caravan-agent" "common_name=caravan-agent.service.consul" }}{{ .Key }}{{ .Cert }}{{ end }}
        PEM
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/ca.pem"
        data        = "{{ with secret \"caravan-pki/cert/ca\" }}{{ .Data.certificate }}{{ end }}"
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
