"""The register of devices and their life: active, quarantined, retired."""
