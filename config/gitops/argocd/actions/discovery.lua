-- The actions of the three kinds. Renewing and retrying are for certificates; whatever cannot do anything now is shown disabled.
local suspended = obj.spec.suspend == true
local actions = {}
actions["suspend"] = { displayName = "Suspend", iconClass = "fa fa-fw fa-pause", disabled = suspended }
actions["resume"] = { displayName = "Resume", iconClass = "fa fa-fw fa-play", disabled = not suspended }
if obj.kind == "DeviceCertificate" then
  local status = obj.status or {}
  actions["renew"] = {
    displayName = "Renew now (buys a certificate)",
    iconClass = "fa fa-fw fa-sync",
    disabled = suspended or status.serialNumber == nil,
  }
  actions["retry"] = {
    displayName = "Retry now",
    iconClass = "fa fa-fw fa-redo",
    disabled = suspended or status.failures == nil,
  }
end
return actions
