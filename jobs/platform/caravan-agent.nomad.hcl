# Agent: one on every node. Prepares kernels for session jobs, cleans up after them, and says what happens on its node.
# What differs from node to node is in the client's meta: caravan_programs (folder of Caravan's programs), caravan_socket,
# caravan_state (the parent of caravan_scratch), caravan_slots_cpu, caravan_slots_mem (bytes; Nomad's totals must agree),
# caravan_devices (the device file, the same that Nomad's device plugin is configured with), and caravan_volume1 (where the
# volume `volume1` is) on the nodes that have it.

variable "agent_port" {
  type    = number
  default = 6011
}

variable "agent_metrics_port" {
  type    = number
  default = 6003
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

locals {
  config = <<-TOML
    node_name = "{{ env "node.unique.name" }}"
    node_id = "{{ env "node.unique.id" }}"
    region = "{{ env "NOMAD_REGION" }}"
    scaling_group = "default"
    advertise_url = "https://{{ env "NOMAD_ADDR_api" }}"
    cluster = "${var.cluster}"
    socket = "{{ env "meta.caravan_socket" }}"
    state_dir = "{{ env "meta.caravan_state" }}"
    network_pool = "${var.network_pool}"
    {{ with env "meta.caravan_devices" -}}
    devices = "{{ . }}"
    {{ end }}
    [log]
    level = "info"
    format = "json"

    [api]
    host = "{{ env "NOMAD_IP_api" }}"
    port = ${var.agent_port}
    {{ with secret "caravan/data/platform/agent" -}}
    token = "{{ .Data.data.token }}"
    {{ end -}}
    cert_file = "{{ env "NOMAD_SECRETS_DIR" }}/agent.pem"

    [metrics]
    host = "127.0.0.1"
    port = ${var.agent_metrics_port}

    [slots]
    cpu = "{{ env "meta.caravan_slots_cpu" }}"
    mem = "{{ env "meta.caravan_slots_mem" }}"

    [redis]
    {{ with service "caravan-redis|any" }}{{ with index . 0 -}}
    host = "{{ .Address }}"
    port = {{ .Port }}
    {{ end }}{{ end -}}
    {{ with secret "caravan/data/platform/redis" -}}
    password = "{{ .Data.data.password }}"
    {{ end -}}
    ca_file = "{{ env "NOMAD_SECRETS_DIR" }}/ca.pem"

    {{ with env "meta.caravan_volume1" -}}
    [volumes.volume1]
    path = "{{ . }}"
    {{ end }}
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
        command = "${meta.caravan_programs}/caravan-agent"
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
