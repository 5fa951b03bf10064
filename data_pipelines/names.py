"""The names of the datasets of this package.

Apart from the registry, so that the command can list them without importing TFDS.
"""

__all__ = ["BUILDERS"]

# {name of the dataset: module and class of its builder}.
BUILDERS = {
    "demo_tiles": "data_pipelines.demo.tiles:DemoTiles",
    "demo_scenes": "data_pipelines.demo.scenes:DemoScenes",
    "demo_aerial": "data_pipelines.demo.aerial:DemoAerial",
    "demo_objects": "data_pipelines.demo.objects:DemoObjects",
    "bigearthnet": "data_pipelines.bigearthnet.bigearthnet:Bigearthnet",
    "potsdam": "data_pipelines.potsdam.potsdam:Potsdam",
    "geotiff_tiles": "data_pipelines.geotiff_tiles.geotiff_tiles:GeotiffTiles",
    "geotiff_masks": "data_pipelines.geotiff_masks.geotiff_masks:GeotiffMasks",
    "nasc_tg2": "data_pipelines.nasc_tg2.nasc_tg2:NascTg2",
    "eurosat": "data_pipelines.eurosat.eurosat:Eurosat",
    "class_folders": "data_pipelines.class_folders.class_folders:ClassFolders",
}
