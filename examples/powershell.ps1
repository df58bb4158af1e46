# Windows PowerShell 5.1 and PowerShell 7: analyze, batch, then agent.py with your own model.
# Pure ASCII on purpose: 5.1 reads a script without a byte order mark in the machine's code page. For the same
# reason Chinese comes from news.json, as bytes, and goes out as bytes.
#
#   $env:FINTUNNEL_URL = 'https://YOUR-NAME.ngrok-free.dev'
#   $env:FINTUNNEL_API_KEY = '...'
#   powershell -ExecutionPolicy Bypass -File examples\powershell.ps1

$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$utf8 = New-Object System.Text.UTF8Encoding $false
try { [Console]::OutputEncoding = $utf8 } catch { Write-Warning 'No console: Chinese may come out wrong.' }
# 5.1 on an older Windows would offer TLS 1.0 only.
[Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12

if (-not $env:FINTUNNEL_URL) { $env:FINTUNNEL_URL = 'http://127.0.0.1:8000' }
$url = $env:FINTUNNEL_URL.TrimEnd('/')
$headers = @{ 'ngrok-skip-browser-warning' = '1' }
if ($env:FINTUNNEL_API_KEY) { $headers['Authorization'] = "Bearer $env:FINTUNNEL_API_KEY" }

function Send-Json([string]$Path, [byte[]]$Body) {
    Invoke-RestMethod -Uri "$url$Path" -Method Post -Headers $headers -Body $Body `
        -ContentType 'application/json; charset=utf-8' -TimeoutSec 180
}

function Show-Analysis($Text, $Analysis) {
    Write-Output ('{0}: {1} / {2}' -f $Text, $Analysis.impact, $Analysis.direction)
    if ($Analysis.rationale) { Write-Output ('  {0}' -f $Analysis.rationale) }
}

$bytes = [IO.File]::ReadAllBytes((Join-Path $PSScriptRoot 'news.json'))
$items = ($utf8.GetString($bytes) | ConvertFrom-Json).items

Write-Output '# POST /analyze'
$one = $utf8.GetBytes(($items[0] | ConvertTo-Json -Depth 8 -Compress))
$analysis = Send-Json '/analyze' $one
Show-Analysis $items[0].text $analysis

Write-Output '# POST /analyze/batch'
$answer = Send-Json '/analyze/batch' $bytes
for ($i = 0; $i -lt $items.Count; $i++) {
    $result = $answer.results[$i]
    if ($result.error) { throw $result.error.message }
    Show-Analysis $items[$i].text $result.analysis
}

Write-Output '# agent.py'
$env:FINTUNNEL_BACKEND = 'finetuned'
$env:PYTHONUTF8 = '1'
python (Join-Path $PSScriptRoot 'agent.py')
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
