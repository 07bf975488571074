-- Where Git states spec.suspend itself, Git wins with the next sync. Where it does not, this lasts until resume.
obj.spec.suspend = true
return obj
