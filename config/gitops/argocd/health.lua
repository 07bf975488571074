-- Health of DeviceCertificate, DeviceIssuer and ClusterDeviceIssuer. It says what kstatus says: a certificate that is being renewed in
-- the background is Healthy, and Degraded means that somebody must act. Argo CD opens no string and no math library.
local found = {}
local observed = -1
if obj.status ~= nil then
  if obj.status.observedGeneration ~= nil then
    observed = obj.status.observedGeneration
  end
  if obj.status.conditions ~= nil then
    for _, condition in ipairs(obj.status.conditions) do
      found[condition.type] = condition
    end
  end
end

local function is(kind)
  return found[kind] ~= nil and found[kind].status == "True"
end

if observed ~= obj.metadata.generation or found.Ready == nil then
  return { status = "Progressing", message = "the operator has not seen this version yet" }
end
if is("Stalled") then
  return { status = "Degraded", message = found.Ready.message }
end
if not is("Ready") and is("Suspended") then
  return { status = "Suspended", message = found.Ready.message }
end
if not is("Ready") then
  return { status = "Progressing", message = found.Ready.message }
end

local message = found.Ready.message
for _, kind in ipairs({ "RenewalFailing", "OutputsIncomplete", "Suspended" }) do
  if is(kind) then
    message = message .. "; " .. kind .. ": " .. found[kind].message
  end
end
return { status = "Healthy", message = message }
