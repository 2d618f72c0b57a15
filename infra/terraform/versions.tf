# Providers are pinned exactly, as everything else is; commit .terraform.lock.hcl after the first `terraform init`.
# State: keep it in a bucket that only operators may read, `terraform init -backend-config=bucket=...`. It holds names
# and policies, and no secret: no service account has a key, and no Kubernetes secret is made here.
terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "6.50.0"
    }
  }

  backend "gcs" {
    prefix = "lesions"
  }
}

provider "google" {
  project = var.project
  region  = var.region
}
